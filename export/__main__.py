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

from export.checkpoint.inspection import denoiser_sizes, found_networks
from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import PUBLIC, TINY, make_tiny
from export.checkpoint.weights import CheckpointError
from export.models.denoiser.config import Riflex
from export.models.face_detector import FaceDetectorMissingError
from export.networks.catalogue import Shape
from export.onnx.compare import ExportDiffersError
from export.onnx.verification import STEPS, verify
from export.precision.calibration import Calibration, CalibrationError
from export.precision.policy import Precision
from export.repository.exporter import STAGES, Report, export_repository
from export.repository.styles import bank
from export.tensorrt.engines import EngineError, Target, build_engines
from export.tensorrt.profiles import SIZES, WINDOWS, Workload
from server.manifest import ManifestError, read_manifest
from server.triton.contract import (
    NETWORKS,
    PIXELS_PER_LATENT,
    SIDE_MULTIPLE,
    Variant,
    latent_frames,
)

app = typer.Typer(
    help="Turns EchoMimic V3 checkpoints into a Triton model repository.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console(stderr=True)

ONE_LINE_ERRORS = (
    CalibrationError,
    CheckpointError,
    EngineError,
    ExportDiffersError,
    FaceDetectorMissingError,
    ManifestError,
)


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


@app.command("make-tiny")
def make_tiny_command(
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
    make_tiny(checkpoint_dir, seed=seed, variant=variant, sizes=PUBLIC if full_size else TINY)
    console.print(f"wrote {checkpoint_dir}")


@app.command("train-demo")
def train_demo_command(
    checkpoint_dir: Annotated[Path, typer.Argument(help="Folder to write.")],
    work_dir: Annotated[
        Path, typer.Option(help="What the stages keep; a run that was stopped goes on from it.")
    ] = Path("build/demo-training"),
    seed: Annotated[int, typer.Option(help="What everything is drawn from.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
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
    precision: Annotated[
        Precision,
        typer.Option(
            help="Of the large weights; norms and what layers add to stay in 32 bits. int8 is for "
            "CPUs: matrices only, widened when used. fp8 is for TensorRT on GPUs of compute "
            "capability 8.9 and later: the denoiser's blocks, and 16 bits elsewhere."
        ),
    ] = "fp32",
    text_precision: Annotated[
        Precision | None,
        typer.Option(
            help="Of the text encoder, where it is to be another one: int8 keeps it on the CPU and "
            "out of the GPU's memory."
        ),
    ] = None,
    image_precision: Annotated[
        Precision | None,
        typer.Option(help="Of the image encoder, likewise; it runs once for each portrait."),
    ] = None,
    vae_precision: Annotated[
        Precision | None,
        typer.Option(help="Of the VAE, likewise: bf16 or fp32 where its weights overflow in fp16."),
    ] = None,
    portrait: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Picture that fp8 is calibrated with."),
    ] = None,
    speech: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Audio file that fp8 is calibrated with: its loudest 0.88 s.",
        ),
    ] = None,
    style_bank: Annotated[
        bool,
        typer.Option(
            "--style-bank",
            help="Encode some prompts now and leave the text encoder out: 11 GB less at its "
            "public size. Requests then choose among these styles.",
        ),
    ] = False,
    style: Annotated[
        list[str] | None,
        typer.Option(help="NAME=PROMPT, a further style of the bank, several times."),
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
    sizes = [parse_size(text) for text in size] if size else SIZES
    if threads:
        torch.set_num_threads(threads)
    riflex = Riflex(riflex_k, riflex_latent_frames) if riflex_latent_frames else None
    more = dict(parse_style(text) for text in style or [])
    if more and not style_bank:
        raise typer.BadParameter("--style needs --style-bank")
    calibration = Calibration(portrait, speech) if portrait and speech else None
    if (precision == "fp8") != bool(portrait or speech) or bool(portrait) != bool(speech):
        raise typer.BadParameter(
            "--portrait and --speech go with --precision fp8, which needs both"
        )
    asked: dict[str, Precision | None] = {
        "text_encoder": text_precision,
        "image_encoder": image_precision,
        "vae_encoder": vae_precision,
        "vae_decoder": vae_precision,
    }
    others: dict[str, Precision] = {
        name: other for name, other in asked.items() if other is not None
    }
    if "fp8" in others.values():
        raise typer.BadParameter("fp8 is for the denoiser: --precision fp8")
    if vae_precision == "int8":
        raise typer.BadParameter("--vae-precision: int8 is for matrices, of which the VAE has none")
    checkpoint = Checkpoint(checkpoint_dir)
    stages = STAGES * len(NETWORKS[checkpoint.variant]) + style_bank + (calibration is not None)
    with _one_line_errors(), _progress(stages) as report:
        prompts = bank(checkpoint.variant, more) if style_bank else None
        export_repository(
            checkpoint,
            repository,
            sizes=sizes,
            report=report,
            precision=precision,
            others=others,
            riflex=riflex,
            halves=halves,
            prompts=prompts,
            calibration=calibration,
        )
    console.print(f"wrote {repository}")


@app.command("tensorrt")
def tensorrt_command(
    repository: Annotated[Path, typer.Argument(help="Repository of ONNX files.")],
    engines: Annotated[Path, typer.Option(help="Repository of engines to write.")],
    window: Annotated[
        list[int] | None,
        typer.Option(help="Window length in video frames, 4k + 1, several times; usual one first."),
    ] = None,
    streams: Annotated[
        int, typer.Option(min=1, help="Streams whose steps may be merged into one batch.")
    ] = 1,
    network: Annotated[
        list[str] | None, typer.Option(help="Network to build, several times; all by default.")
    ] = None,
    compute_capability: Annotated[
        str | None,
        typer.Option(help="As 8.9: build ahead of time, on a CPU, with TensorRT-RTX."),
    ] = None,
    weight_streaming: Annotated[
        bool, typer.Option(help="Let weights stay in the host's memory.")
    ] = False,
) -> None:
    """Build TensorRT engines, for the GPU at hand or ahead of time."""
    with _one_line_errors():
        described = read_manifest(repository)
        names = network or list(described.networks)
        workload = Workload(described.variant, described.sizes, window or WINDOWS, streams)
        with _progress(2 * len(names)) as report:
            target = Target(compute_capability, weight_streaming)
            build_engines(repository, engines, workload, target, names, report)
    console.print(f"wrote {engines}")


@app.command("verify")
def verify_command(
    repository: Annotated[Path, typer.Argument(help="Repository of ONNX files.")],
    checkpoint: Annotated[Path, typer.Option(help="What it was exported from.")],
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the frames to compare.")] = "128x128",
    frames: Annotated[int, typer.Option(help="Frames to compare, 4k + 1.")] = 9,
    network: Annotated[
        list[str] | None,
        typer.Option(help="Network to compare, several times; all by default."),
    ] = None,
) -> None:
    """Show how far ONNX files, and frames made with them, are from the checkpoint in 32 bits."""
    width, height = parse_size(size)
    shape = Shape(1, latent_frames(frames), height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT)
    with _one_line_errors(), console.status("") as status:
        result = verify(repository, Checkpoint(checkpoint), shape, status.update, network)
    table = Table("network", "output", "precision", box=box.SIMPLE, title="error")
    for name in ("largest", "mean", "of norm"):
        table.add_column(name, justify="right")
    for error in result.errors:
        numbers = (f"{number:.1e}" for number in (error.largest, error.mean, error.relative))
        table.add_row(error.network, error.output, error.precision, *numbers)
    out = Console(highlight=False)
    out.print(table)
    if result.psnr_db is not None:
        out.print(f"frames after {STEPS} steps: PSNR {result.psnr_db:.1f} dB")


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
    except ONE_LINE_ERRORS as error:
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
