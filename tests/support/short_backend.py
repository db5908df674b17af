"""A network for Triton's Python backend that has no room for more than it is told."""

from collections.abc import Mapping
from pathlib import Path

from server.triton.contract import PIXELS_PER_LATENT
from server.triton.installation import BACKENDS

LARGE = 128
FRAME = (LARGE // PIXELS_PER_LATENT) ** 2
"""Latents of a latent frame: a window of 5 frames has 2, one of 9 has 3, and a step has 2 rows."""
PLENTY = 99
VARIABLE = "SHORT_BACKEND"
"""Where the environment has the path of the gateway's own backend."""
SOURCE = f"""
import importlib.util, json, os
from pathlib import Path

spec = importlib.util.spec_from_file_location("backend", os.environ["{VARIABLE}"])
backend = importlib.util.module_from_spec(spec)
spec.loader.exec_module(backend)
ROOM = Path(__file__).with_name("room")


class TritonPythonModel(backend.TritonPythonModel):
    def initialize(self, args):
        config = json.loads(args["model_config"]) | {{"default_model_filename": "model.onnx"}}
        super().initialize(args | {{"model_config": json.dumps(config)}})

    def _run(self, requests):
        for request in requests:
            inputs = backend.inputs_of(request)
            rows = inputs["audio_gain"].shape[1] if "audio_gain" in inputs else 1
            _, _, frames, height, width = inputs["latents"].shape
            if rows * frames * height * width > int(ROOM.read_text()):
                raise RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc")
        return super()._run(requests)
"""
"""A model.py. The file `room` beside it has the most latents, times rows, of an execution."""
ENVIRONMENT = {VARIABLE: str(BACKENDS / "onnxruntime" / "model.py")}
"""What a gateway needs in its own whose Triton runs such networks."""


def shorten(repository: Path, *networks: str) -> None:
    """Has networks of a repository refuse what they are told has no room; at first nothing."""
    for network in networks:
        change(
            repository / network / "config.pbtxt",
            {'"onnxruntime"': '"python"', '"model.onnx"': '"model.py"'},
        )
        (repository / network / "1" / "model.py").write_text(SOURCE)
        leave_room(repository, PLENTY, network)


def leave_room(repository: Path, frames: float, network: str = "denoiser") -> None:
    """Says how many latent frames, times rows, of pictures of the usual size have room."""
    (repository / network / "1" / "room").write_text(str(round(frames * FRAME)))


def change(file: Path, words: Mapping[str, str]) -> None:
    """Writes other words into a file in the place of some that are there."""
    written = file.read_text()
    for old, new in words.items():
        assert old in written
        written = written.replace(old, new)
    file.write_text(written)
