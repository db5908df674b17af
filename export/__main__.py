"""`python -m export`: see `--help`."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich import box, filesize
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column, Table

from export.checkpoint import Checkpoint
from export.compare import ExportDiffersError
from export.denoiser_config import Riflex
from export.face_detector import FaceDetectorMissingError
from export.inspection import denoiser_sizes, found_networks
from export.tiny import make_tiny
from export.to_onnx import STAGES, Report, export_repository
from export.weights import CheckpointError
from server.contract import NETWORKS, SIDE_MULTIPLE, Variant

app = typer.Typer(
    help="Turns EchoMimic V3 checkpoints into a Triton model repository.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console(stderr=True)

DEFAULT_SIZES = ["512x512", "256x256", "768x768", "512x768", "768x512"]


def parse_size(text: str) -> tuple[int, int]:
    """Reads WIDTHxHEIGHT; sides are multiples of 16."""
    width, separator, height = text.partition("x")
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"{text} is not WIDTHxHEIGHT, as 512x512")
    size = int(width), int(height)
    if min(size) < SIDE_MULTIPLE or any(side % SIDE_MULTIPLE for side in size):
        raise typer.BadParameter(f"{text}: sides are multiples of {SIDE_MULTIPLE}")
    return size


@app.command("make-tiny")
def make_tiny_command(
    checkpoint_dir: Annotated[Path, typer.Argument(help="Folder to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
    variant: Annotated[Variant, typer.Option(help="Which public model it is a small one of.")] = (
        "flash"
    ),
) -> None:
    """Write a tiny checkpoint with random weights, in the layout of the public ones."""
    make_tiny(checkpoint_dir, seed=seed, variant=variant)
    console.print(f"wrote {checkpoint_dir}")


@app.command("train-demo")
def train_demo_command(
    checkpoint_dir: Annotated[Path, typer.Argument(help="Folder to write.")],
    work_dir: Annotated[
        Path, typer.Option(help="What the stages keep; a run that was stopped goes on from it.")
    ] = Path("build/demo-training"),
    seed: Annotated[int, typer.Option(help="What everything is drawn from.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Train the demo's checkpoint on drawn faces: about two hours on two cores."""
    # Drawing and speaking need libraries that nothing else here does.
    from export.demo.recipe import train_demo

    torch.set_num_threads(threads)
    columns = (SpinnerColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, step: int, steps: int, facts: dict[str, float]) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=steps)
            numbers = ", ".join(f"{name} {number:.3g}" for name, number in facts.items())
            progress.update(tasks[stage], completed=step, description=f"{stage}: {numbers}")

        train_demo(checkpoint_dir, work_dir, seed=seed, report=report)
    console.print(f"wrote {checkpoint_dir}")


@app.command("demo-media")
def demo_media_command(
    folder: Annotated[Path, typer.Argument(help="Folder for portrait.png and speech.wav.")],
) -> None:
    """Draw the demo's portrait and speak its speech; no training has seen or heard them."""
    from export.demo.media import write_media

    write_media(folder)
    console.print(f"wrote {folder}")


@app.command("onnx")
def onnx_command(
    checkpoint_dir: Annotated[Path, typer.Argument(help="Folder in the public layout.")],
    repository: Annotated[Path, typer.Option(help="Model repository to write.")] = Path(
        "model_repository"
    ),
    size: Annotated[
        list[str] | None,
        typer.Option(help="WIDTHxHEIGHT to offer, several times; the first is the default."),
    ] = None,
    riflex_latent_frames: Annotated[
        int,
        typer.Option(
            help="Latent frames of the clips to come, 4 frames each; slows one temporal frequency "
            "so that long clips do not repeat (RIFLEx). 0 leaves it as it is."
        ),
    ] = 0,
    riflex_k: Annotated[int, typer.Option(help="Which temporal frequency RIFLEx slows.")] = 6,
    halves: Annotated[
        bool,
        typer.Option(
            "--halves", help="Store weights that half precision holds exactly in half the room."
        ),
    ] = False,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 takes every core.")] = 0,
) -> None:
    """Write an ONNX file and a config.pbtxt for each network, checked against torch."""
    sizes = [parse_size(text) for text in size or DEFAULT_SIZES]
    if threads:
        torch.set_num_threads(threads)
    riflex = Riflex(riflex_k, riflex_latent_frames) if riflex_latent_frames else None
    checkpoint = Checkpoint(checkpoint_dir)
    with _one_line_errors(), _progress(STAGES * len(NETWORKS[checkpoint.variant])) as report:
        export_repository(
            checkpoint, repository, sizes=sizes, report=report, riflex=riflex, halves=halves
        )
    console.print(f"wrote {repository}")


@app.command("inspect")
def inspect_command(
    checkpoint_dir: Annotated[Path, typer.Argument(help="Folder in the public layout.")],
) -> None:
    """Show what a checkpoint folder holds: variant, networks, parameters, types, a digest."""
    checkpoint = Checkpoint(checkpoint_dir)
    with _one_line_errors():
        found, sizes = found_networks(checkpoint), denoiser_sizes(checkpoint)
        digest = checkpoint.digest()
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
    out = Console(highlight=False)
    out.print(f"variant {sizes.variant}, digest {digest}")
    out.print(table)
    out.print(
        f"denoiser: {sizes.num_layers} layers, {sizes.dim} wide, {sizes.num_heads} heads, "
        f"feed-forward {sizes.ffn_dim}"
    )


@contextmanager
def _one_line_errors() -> Generator[None]:
    try:
        yield
    except (CheckpointError, ExportDiffersError, FaceDetectorMissingError) as error:
        console.print(f"error: {error}", style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


@contextmanager
def _progress(stages: int) -> Generator[Report]:
    columns = (SpinnerColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("starting", total=stages)

        def report(stage: str, *, result: bool = False) -> None:
            progress.update(task, description=stage, advance=1)
            if result:
                progress.console.print(stage, highlight=False)

        yield report


if __name__ == "__main__":
    app()
