"""`inspect`: what a checkpoint folder holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from export.cli.console import results
from export.cli.options import AskedVariant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from export.checkpoint.inspection import Found


def inspect(
    checkpoint_dir: Annotated[Path, typer.Argument(help="Folder in the public layout.")],
    variant: AskedVariant = None,
) -> None:
    """Show what a checkpoint folder holds, or all that is wrong with it."""
    from export.checkpoint.inspection import check, found_networks
    from export.checkpoint.layout import Checkpoint
    from export.networks.denoiser import denoiser_config

    checkpoint = Checkpoint(checkpoint_dir, variant)
    check(checkpoint)
    found, sizes = found_networks(checkpoint), denoiser_config(checkpoint)
    results.print(f"variant {sizes.variant}, digest {checkpoint.digest()}")
    _show(found)
    results.print(
        f"denoiser: {sizes.num_layers} layers, {sizes.dim} wide, {sizes.num_heads} heads, "
        f"feed-forward {sizes.ffn_dim}"
    )


def _show(found: "Sequence[Found]") -> None:
    from rich import box, filesize
    from rich.table import Column, Table

    table = Table("network", Column("file", overflow="fold"), "type", box=box.SIMPLE)
    for name in ("tensors", "parameters", "size"):
        table.add_column(name, justify="right")
    for network in found:
        table.add_row(
            network.network,
            "\n".join(map(str, network.files)),
            ", ".join(network.dtypes),
            f"{network.tensors:,}",
            f"{network.parameters:,}",
            filesize.decimal(network.size_bytes),
        )
    results.print(table)
