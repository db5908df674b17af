"""`inspect`: what a folder holds, a checkpoint or a repository that an export wrote."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from export.cli.console import results
from export.cli.options import AskedVariant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from export.checkpoint.inspection import Found


def inspect(
    folder: Annotated[
        Path,
        typer.Argument(
            exists=True,
            file_okay=False,
            help="Checkpoint in the public layout, or repository of an export.",
        ),
    ],
    variant: AskedVariant = None,
) -> None:
    """Show what a checkpoint or a repository holds, or what is wrong with it."""
    from server.manifest import FILE

    if (folder / FILE).is_file():
        _inspect_repository(folder)
    else:
        _inspect_checkpoint(folder, variant)


def _inspect_checkpoint(checkpoint_dir: Path, variant: AskedVariant) -> None:
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


def _inspect_repository(repository: Path) -> None:
    from rich import box
    from rich.table import Table

    from export.tensorrt.installed import tensorrt_here
    from server.manifest import read_manifest
    from server.triton.plans import check_plans

    manifest = read_manifest(repository)
    sizes = ", ".join(f"{width}x{height}" for width, height in manifest.sizes)
    results.print(f"variant {manifest.variant}, digest {manifest.checkpoint_digest}, {sizes}")
    table = Table("network", "backend", "precision", box=box.SIMPLE)
    for name, entry in manifest.networks.items():
        table.add_row(name, entry.backend, entry.precision)
    results.print(table)
    tools = ", ".join(f"{tool} {version}" for tool, version in manifest.tool_versions.items())
    results.print(f"made by {tools}")
    if here := tensorrt_here():
        check_plans(manifest, repository, here, "or build them again here")


def _show(found: "Sequence[Found]") -> None:
    from rich import box, filesize
    from rich.markup import escape
    from rich.table import Column, Table

    table = Table("network", Column("file", overflow="fold"), "type", box=box.SIMPLE)
    for name in ("tensors", "parameters", "size"):
        table.add_column(name, justify="right")
    for network in found:
        table.add_row(
            network.network,
            escape("\n".join(map(str, network.files))),
            ", ".join(network.dtypes),
            f"{network.tensors:,}",
            f"{network.parameters:,}",
            filesize.decimal(network.size_bytes),
        )
    results.print(table)
