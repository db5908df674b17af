"""What building TensorRT engines costs, at small and at public sizes.

python -m tests.reports.engines SMALL_REPOSITORY PUBLIC_REPOSITORY ENGINES
"""

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

from export.engines import BuiltEngine, Target, build_engine, installed_builder
from export.profiles import WINDOWS, Workload
from server.manifest import read_manifest
from tests.reports.markdown import table, write

COMPUTE_CAPABILITIES = ("8.9", "12.0")
PUBLIC_NETWORKS = ("vae_decoder", "denoiser")
"""Those whose engines are large, and every step and frame needs."""
ONE_SIZE, ONE_SIZE_WINDOWS = ((512, 512),), (33, 17, 5)
"""A profile for a card of 12 GB: what need not fit takes no memory."""
FIXED_SIZES, FIXED_WINDOWS = (256, 512, 768), (5, 17, 33, 81)
FIXED_NETWORKS = ("vae_encoder", "vae_decoder")
"""Those that take the most beside their weights, built for one size and window at a time."""
HEADER = ("network", "precision", "compute capability", "layers", "MB", "runs in, MB", "s", "GB")
INTRO = """Networks are parsed and built ahead of time, on a CPU, with TensorRT-RTX; no engine was
run, since that takes a GPU. Each build is a process of its own, whose peak memory is the last
column. `Runs in` is the activation memory that the builder reports; the weights come on top. It
does not say for which shapes of a range: [memory.md](memory.md) has engines of one shape each. 8.9
is a GeForce RTX 40, 12.0 an RTX 50."""


def build(
    repository: Path,
    folder: Path,
    workload: Workload,
    names: Sequence[str],
    capabilities: Sequence[str],
) -> list[BuiltEngine]:
    """Builds engines, or finds them built."""
    networks = read_manifest(repository).networks
    built: list[BuiltEngine] = []
    for capability in capabilities:
        for name in names:
            engine = build_engine(
                repository / name,
                folder / capability / name,
                workload,
                Target(capability),
                installed_builder(),
                networks[name].precision,
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


def fixed(side: int, frames: int) -> str:
    """Returns the folder of engines for one size of picture and one length of window."""
    return f"fixed-{side}x{side}-{frames}"


def main() -> None:
    """Builds every engine and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("small", type=Path)
    parser.add_argument("public", type=Path)
    parser.add_argument("engines", type=Path)
    options = parser.parse_args()
    small, public = read_manifest(options.small), read_manifest(options.public)
    every = Workload(small.variant, small.sizes, WINDOWS)
    all_sizes = Workload(public.variant, public.sizes, WINDOWS)
    one_size = Workload(public.variant, ONE_SIZE, ONE_SIZE_WINDOWS)
    both, first = COMPUTE_CAPABILITIES, COMPUTE_CAPABILITIES[:1]
    parts: list[str] = []
    for title, folder, repository, workload, names, capabilities in (
        ("The demo's sizes", "demo", options.small, every, tuple(small.networks), both),
        (
            "Public sizes, 512x512",
            "public-512x512",
            options.public,
            one_size,
            PUBLIC_NETWORKS,
            both,
        ),
        (
            "Public sizes, every picture",
            "public-every",
            options.public,
            all_sizes,
            PUBLIC_NETWORKS,
            first,
        ),
    ):
        built = build(repository, options.engines / folder, workload, names, capabilities)
        parts += [f"## {title}", described(workload), engines_table(built)]
        builder = built[0].builder
    for side, frames in itertools.product(FIXED_SIZES, FIXED_WINDOWS):
        workload = Workload(public.variant, ((side, side),), (frames,))
        folder = options.engines / fixed(side, frames)
        build(options.public, folder, workload, FIXED_NETWORKS, first)
    write(
        "tensorrt.md",
        "engines",
        "TensorRT engines",
        INTRO,
        f"Checkpoint `{small.checkpoint_digest}` and, of the public sizes with random weights, "
        f"`{public.checkpoint_digest}`; {builder}.",
        *parts,
    )


if __name__ == "__main__":
    main()
