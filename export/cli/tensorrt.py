"""`tensorrt`: a repository of ONNX files to one of engines."""

import re
from pathlib import Path
from typing import Annotated

import typer

from export.cli.console import console
from export.cli.options import check_frames
from export.cli.progress import progress

CAPABILITY = re.compile(r"\d+\.\d")


def tensorrt(
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
    for frames in window or ():
        check_frames("--window", frames)
    if compute_capability is not None and not CAPABILITY.fullmatch(compute_capability):
        raise typer.BadParameter(f"--compute-capability: {compute_capability} is not as 8.9")
    if engines.resolve() == repository.resolve():
        raise typer.BadParameter("--engines: another folder than that of the ONNX files")

    from export.tensorrt.engines import Target, build_engines
    from export.tensorrt.profiles import WINDOWS, Workload
    from server.manifest import read_manifest

    described = read_manifest(repository)
    names = network or list(described.networks)
    workload = Workload(described.variant, described.sizes, window or WINDOWS, streams)
    target = Target(compute_capability, weight_streaming)
    with progress(2 * len(names)) as report:
        build_engines(repository, engines, workload, target, names, report)
    console.print(f"wrote {engines}")
