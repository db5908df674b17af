"""`make-hollow`: networks that compute nothing."""

from pathlib import Path
from typing import Annotated

import typer

from export.cli.console import console
from export.cli.options import parse_size
from export.precision.policy import Precision

SIZES = ["512x512", "256x256", "768x768"]


def make_hollow(
    repository: Annotated[Path, typer.Argument(help="Model repository to write.")],
    size: Annotated[
        list[str] | None,
        typer.Option(help="WIDTHxHEIGHT to offer, several times; the first is the default."),
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="As of `onnx`: with 16 bits half the bytes travel.")
    ] = "fp16",
) -> None:
    """Write networks of the public widths that answer with zeros: what a server takes itself."""
    from export.repository import hollow

    sizes = [parse_size(text) for text in size or SIZES]
    hollow.make_hollow(repository, sizes=sizes, precision=precision)
    console.print(f"wrote {repository}")
