"""What the networks of the public sizes take: weights in every precision, activations of engines.

python -m tests.reports.memory ENGINES
"""

import argparse
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from export.checkpoint import layout
from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import PUBLIC
from export.models import audio_encoder, image_encoder, text_encoder
from export.models.denoiser.model import VARIANTS
from export.models.vae import coder as vae
from export.networks.catalogue import networks
from export.planning.sizes import file_bytes
from export.precision.policy import Precision, precision_of
from server.triton.contract import Variant
from tests.reports.engines import (
    EVERY,
    FIXED_NETWORKS,
    FIXED_WINDOWS,
    FP8,
    FP8_SIDE,
    ON_THE_CPU,
    ONE_SIZE_WINDOWS,
    SIDES,
    fixed,
    one_size,
)
from tests.reports.markdown import table, write_measured

PAGE = "memory.md"
CAPABILITY = "8.9"
CARDS = (12, 16, 24)
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8", "fp8")


class PublicSizes(Checkpoint):
    """A checkpoint of the public sizes whose tensors have shapes and no values."""

    variant: Variant = "flash"

    def sizes(self, section: str, public: Mapping[str, Any]) -> dict[str, Any]:
        return dict(public)

    def json(self, path: Path) -> dict[str, Any]:
        return dict(PUBLIC.denoiser) if path == layout.DENOISER_CONFIG else {}

    @property
    def denoiser(self) -> Path:
        return layout.DENOISER

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
        with torch.device("meta"):
            if path == self.denoiser:
                module = VARIANTS[self.variant](PUBLIC.denoiser_config(self.variant))
                return {key: tensor.bfloat16() for key, tensor in module.state_dict().items()}
            if path == layout.VAE:
                return vae.public_tensors(vae.build_vae())
            if path == layout.IMAGE_ENCODER:
                return image_encoder.public_tensors(image_encoder.build_image_encoder())
            if path == layout.TEXT_ENCODER:
                return text_encoder.public_tensors(text_encoder.build_text_encoder())
            return audio_encoder.public_tensors(Wav2Vec2Model(Wav2Vec2Config()))


PUBLIC_CHECKPOINT = PublicSizes(Path("public"))


def weights(precision: Precision) -> dict[str, int]:
    """Returns the bytes of every network's weights."""
    return {
        name: file_bytes(PUBLIC_CHECKPOINT, name, precision_of(name, precision))
        for name in networks(PUBLIC_CHECKPOINT)
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
        for side in sorted(SIDES)
    ]
    return table(["MB", "pictures", *(f"{frames} frames" for frames in FIXED_WINDOWS)], rows)


def runs_table(engines: Path) -> str:
    """Returns the megabytes that every network runs in, by size of picture."""
    names = [name for name in networks(PUBLIC_CHECKPOINT) if name != ON_THE_CPU]
    folders = [*map(one_size, sorted(SIDES)), EVERY]
    rows = [
        [name, *(_megabytes(activations(engines, folder, name)) for folder in folders)]
        for name in names
    ]
    header = ["MB", *(f"{side}x{side}" for side in sorted(SIDES)), "every size, 81 frames"]
    return table(header, rows)


def cards_table(engines: Path) -> str:
    """Returns what is loaded for a size of picture, and what it leaves of some cards, in GB."""
    narrow = weights("fp16")
    rows: list[list[object]] = []
    for side in sorted(SIDES):
        whole = {
            name: (size, activations(engines, one_size(side), name))
            for name, size in narrow.items()
            if name != ON_THE_CPU
        }
        rows.append(_card_row(f"{side}x{side}", whole))
        if side == FP8_SIDE:
            less = {name: both for name, both in whole.items() if name != "image_encoder"}
            in_fp8 = weights("fp8")["denoiser"], activations(engines, FP8, "denoiser")
            rows += [
                _card_row(f"{side}x{side}, image_encoder on the CPU", less),
                _card_row(f"{side}x{side}, denoiser in fp8", whole | {"denoiser": in_fp8}),
            ]
    header = ["GB", "weights", "runs", "together", *(f"left of {card} GB" for card in CARDS)]
    return table(header, rows)


def _card_row(label: str, loads: Mapping[str, tuple[int, int]]) -> list[object]:
    loaded, runs = (sum(sizes) for sizes in zip(*loads.values(), strict=True))
    left = (card * 2**30 - loaded - runs for card in CARDS)
    return [
        label,
        *(f"{size / 1e9:.1f}" for size in (loaded, runs, loaded + runs)),
        *(f"{size / 1e9:.1f}" if size > 0 else "does not fit" for size in left),
    ]


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", type=Path, help="as the engines' report leaves them")
    engines = parser.parse_args().engines
    parts = (
        *("## Weights", WEIGHTS, weights_table()),
        *("## What runs need beside them", RUNS, runs_table(engines)),
        *("## The VAE, by window", BY_WINDOW, vae_table(engines)),
        *("## On a card", ON_A_CARD, cards_table(engines)),
    )
    write_measured(PAGE, "memory", "Memory at the public sizes", *parts)


WEIGHTS = """In MB. Computed from the shapes of the public checkpoint's tensors by the code that
loads and narrows them; the files are as large. A network that stays in another precision says so.

With a style bank there is no text_encoder; with `--text-precision int8` it takes the host's memory
and none of the GPU's, as image_encoder does with `--image-precision int8`."""
RUNS = f"""In MB, as TensorRT-RTX's builder reports it for engines in fp16: each built for one size
of picture and windows of up to {max(ONE_SIZE_WINDOWS)} frames, and for every size and windows of
up to 81."""
BY_WINDOW = """In MB. The VAE walks through a window in chunks, one latent frame at a time, and what
a chunk leaves to the next stays inside the graph. These engines are for one size of picture and
one length of window each."""
ON_A_CARD = f"""In GB: all networks in fp16 but text_encoder, every engine with memory of its own,
as Triton loads them, for one size of picture and windows of up to {max(ONE_SIZE_WINDOWS)} frames.
A card's GB are 2^30 bytes: one of 12 has 12.9 of those here. CUDA's own share comes on top; it was
not measured."""

if __name__ == "__main__":
    main()
