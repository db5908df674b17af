"""`make-tiny`: a checkpoint of random weights."""

from pathlib import Path
from typing import Annotated

import typer

from export.cli.console import console
from server.triton.contract import Variant


def make_tiny(
    checkpoint_dir: Annotated[Path, typer.Argument(help="Folder to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
    variant: Annotated[Variant, typer.Option(help="Which public model it is a small one of.")] = (
        "flash"
    ),
    full_size: Annotated[
        bool, typer.Option("--full-size", help="The public sizes: 19 GB of random weights.")
    ] = False,
) -> None:
    """Write a tiny checkpoint with random weights, in the layout of the public ones."""
    from export.checkpoint import tiny

    sizes = tiny.PUBLIC if full_size else tiny.TINY
    tiny.make_tiny(checkpoint_dir, seed=seed, variant=variant, sizes=sizes)
    console.print(f"wrote {checkpoint_dir}")
