"""What an ONNX file was exported from, kept beside it.

So an export that was stopped goes on at the network where it was, and does not keep what another
checkpoint, another option or another version of the exporter has left.
"""

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from export import sources
from export.models.denoiser.config import Riflex
from export.networks.catalogue import BUILDS, LIGHT
from export.onnx.opsets import Opset
from export.precision.policy import Fp8Scale, Precision
from server.triton.contract import Variant

FILE = "export.json"
TOOLS = ("torch", "onnx", "onnxruntime", "transformers", "diffusers")
TRACING = "export.onnx.trace"


@dataclass(frozen=True, slots=True)
class Origin:
    """What decides how a network's file turns out.

    Attributes:
        checkpoint: its digest.
        precision: of the large weights.
        riflex: a change of the denoiser's temporal frequencies.
        halves: whether weights that half precision holds exactly take half the room.
        calibration: of fp8, the digest of what it was calibrated with.
        exporter: the digest of the code that exports it.
        opset: of ONNX.
        decoder: of a light decoder, its kind and digest.
        whole: whether a VAE is exported without a loop.
        fp8_scale: of fp8, what of a weight has a scale of its own.
    """

    checkpoint: str
    precision: Precision
    riflex: Riflex | None
    halves: bool
    calibration: str | None
    exporter: str
    opset: Opset
    decoder: str | None = None
    whole: bool = False
    fp8_scale: Fp8Scale | None = None

    def note(self, folder: Path) -> None:
        """Writes it beside a file that is complete."""
        (folder / FILE).write_text(json.dumps(self._facts(), indent=2) + "\n")

    def is_of(self, folder: Path) -> bool:
        """Tells whether the file in a folder came from the same, and by these tools."""
        noted = folder / FILE
        try:
            return json.loads(noted.read_bytes()) == self._facts()
        except (OSError, ValueError):
            return False

    def _facts(self) -> dict[str, object]:
        return {**asdict(self), "tools": dict(tool_versions())}


def noted_decoder(folder: Path) -> str | None:
    """Returns the name of the light decoder that a folder's file is, if it is one."""
    try:
        return json.loads((folder / FILE).read_bytes()).get("decoder")
    except (OSError, ValueError):
        return None


def exporter_digest(variant: Variant, network: str) -> str:
    """Returns a digest of the code that decides how a network's file turns out."""
    return sources.digest({**BUILDS[variant], **LIGHT}[network].__module__, TRACING)


def tool_versions() -> Mapping[str, str]:
    """Returns the versions of the libraries that export."""
    return {tool: importlib.metadata.version(tool) for tool in TOOLS}
