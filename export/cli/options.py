"""Options that are more than a word or a number."""

from typing import Annotated

import typer

from server.triton.contract import FRAMES_PER_LATENT, SIDE_MULTIPLE, Variant

AskedVariant = Annotated[
    Variant | None, typer.Option("--variant", help="Which one, where the folder holds both.")
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


def check_frames(option: str, frames: int) -> None:
    """Refuses a number of video frames that no latents stand for."""
    if frames < 1 or (frames - 1) % FRAMES_PER_LATENT:
        raise typer.BadParameter(f"{option}: {frames} is not 4k + 1, as 5, 9 or 33")
