"""Options that are more than a word or a number."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from export.onnx.opsets import Opset
from server.triton.contract import FRAMES_PER_LATENT, SIDE_MULTIPLE, Variant

AskedVariant = Annotated[
    Variant | None, typer.Option("--variant", help="Which one, where the folder holds both.")
]
Decoder = Annotated[
    str | None,
    typer.Option(
        "--decoder",
        help="KIND=FILE: a lighter decoder in the place of the checkpoint's own, lightvaew2_1, "
        "taew2_1 or lighttaew2_1.",
    ),
]
LightBeside = Annotated[
    str | None,
    typer.Option(
        "--light-decoder",
        help="KIND=FILE: a lighter decoder beside the other one, for streams that memory is short "
        "for.",
    ),
]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes every core.")]


def parse_size(text: str) -> tuple[int, int]:
    """Reads WIDTHxHEIGHT; sides are multiples of 16."""
    width, separator, height = text.partition("x")
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"{text} is not WIDTHxHEIGHT, as 512x512")
    size = int(width), int(height)
    if min(size) < SIDE_MULTIPLE or any(side % SIDE_MULTIPLE for side in size):
        raise typer.BadParameter(f"{text}: sides are multiples of {SIDE_MULTIPLE}")
    return size


def parse_style(text: str) -> tuple[str, str]:
    """Reads NAME=PROMPT."""
    name, separator, prompt = text.partition("=")
    if not (separator and name.isidentifier() and prompt.strip()):
        raise typer.BadParameter(f"{text} is not NAME=PROMPT, the name a word")
    return name, prompt.strip()


def parse_decoder(text: str) -> tuple[str, Path]:
    """Reads KIND=FILE."""
    kind, separator, file = text.partition("=")
    if not (separator and kind and file):
        raise typer.BadParameter(f"{text} is not KIND=FILE, as taew2_1=taew2_1.safetensors")
    return kind, Path(file)


def parse_opset(number: int | None) -> Opset | None:
    """Reads one of the opsets that the export writes."""
    opsets: tuple[Opset, ...] = get_args(Opset)
    if number is None or number in opsets:
        return number
    raise typer.BadParameter(f"--opset: {number} is none of {', '.join(map(str, opsets))}")


def check_frames(option: str, frames: int) -> None:
    """Refuses a number of video frames that no latents stand for."""
    if frames < 1 or (frames - 1) % FRAMES_PER_LATENT:
        raise typer.BadParameter(f"{option}: {frames} is not 4k + 1, as 5, 9 or 33")
