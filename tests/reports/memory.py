"""What the networks of the public sizes take: weights in every precision, activations of engines.

python -m tests.reports.memory ENGINES
"""

import argparse
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

from export import audio_encoder, image_encoder, text_encoder, vae
from export import checkpoint as layout
from export.checkpoint import Checkpoint
from export.denoiser import VARIANTS
from export.networks import networks
from export.precision import Precision, precision_of
from export.tiny import PUBLIC
from server.contract import Variant
from tests.reports.markdown import table, write

PAGE = "memory.md"
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8")


class PublicSizes(Checkpoint):
    """A checkpoint of the public sizes whose tensors have shapes and, most of them, no values."""

    variant: Variant = "flash"

    def __init__(self) -> None:
        super().__init__(Path("public"))

    def sizes(self, section: str) -> Mapping[str, Any]:
        return PUBLIC.others[section]

    def json(self, path: Path) -> dict[str, Any]:
        return dict(PUBLIC.denoiser) if path == layout.DENOISER_CONFIG else {}

    @property
    def audio_encoder(self) -> Path:
        return layout.AUDIO_ENCODERS[self.variant]

    @property
    def audio_encoder_weights(self) -> Path:
        return self.audio_encoder / layout.AUDIO_ENCODER_WEIGHTS

    @contextmanager
    def fitting(self, path: Path) -> Generator[dict[str, Tensor]]:
        yield self._tensors(path)

    def _tensors(self, path: Path) -> dict[str, Tensor]:
        if path == layout.VAE:
            # Its loader leaves out what is zero, so it looks at values.
            return _vae_tensors()
        with torch.device("meta"):
            if path == layout.DENOISER:
                module = VARIANTS[self.variant](PUBLIC.denoiser_config(self.variant))
                return {key: tensor.bfloat16() for key, tensor in module.state_dict().items()}
            if path == layout.IMAGE_ENCODER:
                return image_encoder.public_tensors(image_encoder.build_image_encoder())
            if path == layout.TEXT_ENCODER:
                return text_encoder.public_tensors(text_encoder.build_text_encoder())
            return audio_encoder.public_tensors(Wav2Vec2Model(Wav2Vec2Config()))


@cache
def _vae_tensors() -> dict[str, Tensor]:
    return vae.public_tensors(vae.build_vae())


def weights_bytes(module: nn.Module) -> int:
    """Returns what a module's parameters and tables take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())


def weights(precision: Precision) -> dict[str, int]:
    """Returns the bytes of every network's weights."""
    checkpoint = PublicSizes()
    return {
        name: weights_bytes(build(checkpoint).module)
        for name, build in networks(checkpoint, precision).items()
    }


def weights_table() -> str:
    """Returns the megabytes of every network's weights in every precision, and their sums."""
    columns = {precision: weights(precision) for precision in PRECISIONS}
    rows = [
        [name, *(_cell(columns[precision][name], name, precision) for precision in PRECISIONS)]
        for name in columns["fp32"]
    ]
    totals = [sum(column.values()) for column in columns.values()]
    without = [sum(column.values()) - column["text_encoder"] for column in columns.values()]
    rows += [
        ["**all**", *map(_megabytes, totals)],
        ["**without text_encoder**", *map(_megabytes, without)],
    ]
    return table(["MB", *PRECISIONS], rows)


def _cell(size: int, name: str, precision: Precision) -> str:
    used = precision_of(name, precision)
    return _megabytes(size) if used == precision else f"{_megabytes(size)} ({used})"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f}"


def activations_table(engines: Path) -> str:
    """Returns what the builder reported of the engines below a folder."""
    rows = [
        (
            path.relative_to(engines).parts[0].replace("-", " "),
            facts["compute_capability"],
            facts["network"],
            facts["precision"],
            _megabytes(facts["activation_bytes"]),
        )
        for path in sorted(engines.glob("public-*/*/*/1/engine.json"))
        for facts in [json.loads(path.read_text())]
    ]
    return table(("profile", "compute capability", "network", "precision", "MB"), rows)


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", type=Path)
    options = parser.parse_args()
    parts = (WEIGHTS, weights_table(), ACTIVATIONS, activations_table(options.engines))
    write(PAGE, "memory", "Memory at the public sizes", *parts)


WEIGHTS = """Weights, in MB. Computed from the shapes of the public checkpoint's tensors by the
code that loads and narrows them; the files are as large. A network that stays in another precision
says so.

With a style bank there is no text_encoder; with `--text-precision int8` it takes the host's memory
and none of the GPU's."""
ACTIVATIONS = """What a run takes beside the weights, in MB, as TensorRT-RTX's builder reports it
for the greatest shapes of a profile; see [tensorrt.md](tensorrt.md) for what the profiles are.
Triton runs one request of a network at a time, and each network's engine keeps its own."""

if __name__ == "__main__":
    main()
