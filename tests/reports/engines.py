"""What building TensorRT engines costs, at small and at public sizes.

python -m tests.reports.engines SMALL_REPOSITORY PUBLIC_REPOSITORY FP8_REPOSITORY ENGINES
"""

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

from export.tensorrt.engines import BuiltEngine, Target, build_engine, installed_builder
from export.tensorrt.profiles import WINDOWS, Workload
from server.manifest import read_manifest
from tests.reports.containers import containers
from tests.reports.markdown import table, write_measured

COMPUTE_CAPABILITIES = ("8.9", "12.0")
ON_THE_CPU = "text_encoder"
"""What a style bank or int8 keeps off the card; its build would take more than 24 GB."""
ONE_SIZE_WINDOWS = (33, 17, 5)
SIDES, FIXED_WINDOWS = (512, 256, 768), (5, 17, 33, 81)
EVERY = "public-every"
"""The folder of engines for every size and window that a repository offers."""
FP8, FP8_SIDE = "public-fp8", 512
"""The folder of engines in fp8, and the size of their pictures."""
FIXED_NETWORKS = ("vae_encoder", "vae_decoder")
"""Those whose memory may grow with the window, built for one size and window at a time."""
HEADER = ("network", "precision", "compute capability", "layers", "MB", "runs in, MB", "s", "GB")
INTRO = """Networks are parsed and built ahead of time, on a CPU, with TensorRT-RTX; no engine was
run, since that takes a GPU. Each build is a process of its own, whose peak memory is the last
column. `Runs in` is the activation memory that the builder reports; the weights come on top. 8.9 is
a GeForce RTX 40, 12.0 an RTX 50. Of the public sizes text_encoder was not built: it stays on the
CPU, or a style bank takes its place."""


def build(
    repository: Path,
    folder: Path,
    workload: Workload,
    names: Sequence[str],
    capabilities: Sequence[str],
) -> list[BuiltEngine]:
    """Builds engines, or finds them built."""
    described = read_manifest(repository)
    built: list[BuiltEngine] = []
    for capability in capabilities:
        for name in names:
            engine = build_engine(
                repository / name,
                folder / capability / name,
                workload,
                Target(capability),
                installed_builder(),
                described.networks[name].precision,
                described.checkpoint_digest,
            )
            print(f"{folder.name}, {capability}: {engine.summary}", flush=True)
            built.append(engine)
    return built


def engines_table(engines: Sequence[BuiltEngine]) -> str:
    """Returns the figures of some engines."""
    rows = [
        (
            engine.network,
            engine.precision,
            engine.compute_capability,
            engine.layers,
            f"{engine.engine_bytes / 1e6:,.1f}",
            f"{engine.activation_bytes / 1e6:,.0f}",
            f"{engine.seconds:.0f}",
            f"{engine.peak_bytes / 1e9:.1f}",
        )
        for engine in engines
    ]
    return table(HEADER, rows)


def described(workload: Workload) -> str:
    """Returns a profile in words."""
    sizes = ", ".join(f"{width}x{height}" for width, height in workload.sizes)
    return (
        f"Pictures of {sizes}; windows of {', '.join(map(str, sorted(workload.windows)))} frames."
    )


def one_size(side: int) -> str:
    """Returns the folder of engines for one size of picture and windows of up to 33 frames."""
    return f"public-{side}x{side}"


def fixed(side: int, frames: int) -> str:
    """Returns the folder of engines for one size of picture and one length of window."""
    return f"fixed-{side}x{side}-{frames}"


def main() -> None:
    """Builds every engine and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("small", type=Path)
    parser.add_argument("public", type=Path)
    parser.add_argument("fp8", type=Path)
    parser.add_argument("engines", type=Path)
    options = parser.parse_args()
    small, public = read_manifest(options.small), read_manifest(options.public)
    names = [name for name in public.networks if name != ON_THE_CPU]
    both, first = COMPUTE_CAPABILITIES, COMPUTE_CAPABILITIES[:1]
    small_workload = Workload(small.variant, small.sizes, WINDOWS)
    built = build(
        options.small, options.engines / "demo", small_workload, tuple(small.networks), both
    )
    builder = built[0].builder
    parts = ["## The demo's sizes", described(small_workload), engines_table(built)]
    for side in SIDES:
        workload = Workload(public.variant, ((side, side),), ONE_SIZE_WINDOWS)
        folder = options.engines / one_size(side)
        built = build(options.public, folder, workload, names, both if side == FP8_SIDE else first)
        parts += [f"## Public sizes, {side}x{side}", described(workload), engines_table(built)]
    in_fp8 = Workload(public.variant, ((FP8_SIDE, FP8_SIDE),), ONE_SIZE_WINDOWS)
    built = build(options.fp8, options.engines / FP8, in_fp8, ("denoiser",), both)
    parts += [
        f"## Public sizes, {FP8_SIDE}x{FP8_SIDE}, fp8",
        described(in_fp8),
        engines_table(built),
    ]
    every = Workload(public.variant, public.sizes, WINDOWS)
    built = build(options.public, options.engines / EVERY, every, names, first)
    parts += ["## Public sizes, every picture", described(every), engines_table(built)]
    for side, frames in itertools.product(SIDES, FIXED_WINDOWS):
        workload = Workload(public.variant, ((side, side),), (frames,))
        folder = options.engines / fixed(side, frames)
        build(options.public, folder, workload, FIXED_NETWORKS, first)
    write_measured(
        "tensorrt.md",
        "engines",
        "TensorRT engines",
        INTRO,
        f"Checkpoint `{small.checkpoint_digest}` and, of the public sizes with random weights, "
        f"`{public.checkpoint_digest}`; {builder}.",
        *parts,
        *containers(),
    )


if __name__ == "__main__":
    main()
