"""`make-tiny`: a checkpoint of random weights."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from export.cli.console import console
from server.triton.contract import Variant

FORMS = ("published", "safetensors", "shards", "legacy", "module")


def make_tiny(
    checkpoint_dir: Annotated[Path, typer.Argument(help="Folder to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
    variant: Annotated[
        Variant | None,
        typer.Option(
            help="Which public model it is a small one of; flash by default, and with "
            "--as-published both, beside each other."
        ),
    ] = None,
    full_size: Annotated[
        bool, typer.Option("--full-size", help="The public sizes: 19 GB of random weights.")
    ] = False,
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published",
            help="Lay the folder out as whole repositories are downloaded, other files and all.",
        ),
    ] = False,
    packed: Annotated[
        str,
        typer.Option(
            help="With --as-published, how the files of the base are packed: published, "
            "safetensors, shards, legacy (pickles that are no archives) or module (so begin all "
            "names)."
        ),
    ] = "published",
) -> None:
    """Write a tiny checkpoint with random weights, in the layout of the public ones."""
    if packed not in FORMS:
        raise typer.BadParameter(f"--packed: {packed} is none of {', '.join(FORMS)}")
    if full_size and as_published:
        raise typer.BadParameter("--as-published is of tiny checkpoints: without --full-size")
    if packed != "published" and not as_published:
        raise typer.BadParameter("--packed goes with --as-published")

    from export.checkpoint import published, tiny

    if as_published:
        variants = get_args(Variant) if variant is None else (variant,)
        published.make_published(checkpoint_dir, seed=seed, variants=variants, form=packed)
    else:
        sizes = tiny.PUBLIC if full_size else tiny.TINY
        tiny.make_tiny(checkpoint_dir, seed=seed, variant=variant or "flash", sizes=sizes)
    console.print(f"wrote {checkpoint_dir}")
