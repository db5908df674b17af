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
from tests.reports.engines import FIXED_NETWORKS, FIXED_SIZES, FIXED_WINDOWS, fixed
from tests.reports.markdown import table, write

PAGE = "memory.md"
CAPABILITY = "8.9"
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


def activations(engines: Path, folder: str, network: str) -> int:
    """Returns what the builder reported that an engine runs in, in bytes."""
    facts = engines / folder / CAPABILITY / network / "1" / "engine.json"
    return json.loads(facts.read_text())["activation_bytes"]


def vae_table(engines: Path) -> str:
    """Returns the megabytes that the VAE runs in, by size of picture and length of window."""
    rows = [
        [
            network,
            f"{side}x{side}",
            *(
                _megabytes(activations(engines, fixed(side, frames), network))
                for frames in FIXED_WINDOWS
            ),
        ]
        for network in FIXED_NETWORKS
        for side in FIXED_SIZES
    ]
    return table(["MB", "pictures", *(f"{frames} frames" for frames in FIXED_WINDOWS)], rows)


def cards_table(engines: Path) -> str:
    """Returns the gigabytes of everything that is loaded, by size of picture and window."""
    narrow = weights("fp16")
    loaded = sum(narrow.values()) - narrow["text_encoder"]
    denoiser = activations(engines, "public-512x512", "denoiser")
    rows: list[list[object]] = []
    for side in FIXED_SIZES[:2]:
        row: list[object] = [f"{side}x{side}"]
        for frames in FIXED_WINDOWS[:3]:
            vae_runs_in = sum(
                activations(engines, fixed(side, frames), network) for network in FIXED_NETWORKS
            )
            row.append(f"{(loaded + denoiser + vae_runs_in) / 1e9:.1f}")
        rows.append(row)
    return table(["GB", *(f"{frames} frames" for frames in FIXED_WINDOWS[:3])], rows)


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", type=Path, help="as the engines' report leaves them")
    engines = parser.parse_args().engines
    parts = (
        *("## Weights", WEIGHTS, weights_table()),
        *(
            "## What runs need beside them",
            ACTIVATIONS,
            vae_table(engines),
            denoiser_words(engines),
        ),
        *("## On a card", CARDS, cards_table(engines)),
    )
    write(PAGE, "memory", "Memory at the public sizes", *parts)


def denoiser_words(engines: Path) -> str:
    """Returns what the denoiser runs in, in a sentence."""
    at_512, at_all = (
        _megabytes(activations(engines, folder, "denoiser"))
        for folder in ("public-512x512", "public-every")
    )
    return (
        f"The denoiser, with two branches, runs in {at_512} MB for 512x512 and windows of up to\n"
        f"33 frames, and in {at_all} MB for pictures of up to 768x768 and windows of up to 81."
    )


WEIGHTS = """In MB. Computed from the shapes of the public checkpoint's tensors by the code that
loads and narrows them; the files are as large. A network that stays in another precision says so.

With a style bank there is no text_encoder; with `--text-precision int8` it takes the host's memory
and none of the GPU's."""
ACTIVATIONS = """In MB, as TensorRT-RTX's builder reports it for engines in fp16, each built for one
size of picture and one length of window. For an engine of several shapes the builder's figure is
that of none of them: see [tensorrt.md](tensorrt.md). The VAE takes a window as a whole, so its part
grows with the window."""
CARDS = """In GB: the weights in fp16 without text_encoder, and what VAE and denoiser run in, each
engine by itself as Triton loads them (for the denoiser, that of 512x512 and 33 frames). CUDA's own
share and the small encoders' runs come on top. So a card of 12 GB is for 256x256, or for 512x512 in
very short windows, and one of 24 GB for 512x512 in windows of 17 frames."""

if __name__ == "__main__":
    main()
