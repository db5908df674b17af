"""A network for Triton's Python backend that has no room for more than it is told."""

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
