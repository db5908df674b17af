"""`verify`: how far a repository is from its checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from export.cli.console import console, results
from export.cli.options import AskedVariant, check_frames, parse_size

if TYPE_CHECKING:
    from export.onnx.verification import Verification


def verify(
    repository: Annotated[Path, typer.Argument(help="Repository of ONNX files.")],
    checkpoint: Annotated[Path, typer.Option(help="What it was exported from.")],
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the frames to compare.")] = "128x128",
    frames: Annotated[int, typer.Option(help="Frames to compare, 4k + 1.")] = 9,
    variant: AskedVariant = None,
    portrait: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Picture whose latents a lighter decoder is compared on with the checkpoint's.",
        ),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(help="Network to compare, several times; all by default."),
    ] = None,
) -> None:
    """Show how far ONNX files, and frames made with them, are from the checkpoint in 32 bits."""
    width, height = parse_size(size)
    check_frames("--frames", frames)

    from export.checkpoint.layout import Checkpoint
    from export.networks.exportable import Shape
    from export.onnx import verification
    from export.precision.calibration import read_picture
    from server.triton.contract import PIXELS_PER_LATENT, latent_frames

    shape = Shape(1, latent_frames(frames), height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT)
    with console.status("") as status:
        result = verification.verify(
            repository,
            Checkpoint(checkpoint, variant),
            shape,
            status.update,
            network,
            None if portrait is None else read_picture(portrait, width, height),
        )
    _show(result, verification.STEPS)


def _show(result: "Verification", steps: int) -> None:
    from rich import box
    from rich.table import Table

    table = Table("network", "output", "precision", box=box.SIMPLE, title="error")
    for name in ("largest", "mean", "of norm"):
        table.add_column(name, justify="right")
    for error in result.errors:
        numbers = (f"{number:.1e}" for number in (error.largest, error.mean, error.relative))
        table.add_row(error.network, error.output, error.precision, *numbers)
    results.print(table)
    if result.psnr_db is not None:
        results.print(f"frames after {steps} steps: PSNR {result.psnr_db:.1f} dB")
    if result.decoder_psnr_db is not None:
        results.print(
            f"decoder {result.decoder}: PSNR {result.decoder_psnr_db:.1f} dB against the "
            "checkpoint's own",
            soft_wrap=True,
        )
