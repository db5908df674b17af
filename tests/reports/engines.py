"""What building TensorRT engines costs, for some compute capabilities.

python -m tests.reports.engines REPOSITORY ENGINES
"""

import argparse
from pathlib import Path

from export.engines import Target, build_engines
from export.profiles import Workload
from server.manifest import read_manifest
from tests.reports.markdown import table, write

COMPUTE_CAPABILITIES = ("8.9", "12.0")
WINDOWS = (33, 17, 5, 81)
INTRO = """Every network is parsed and built ahead of time, on a CPU, with TensorRT-RTX; no engine
was run, since that takes a GPU. Each build is a process of its own, whose peak memory is given.
8.9 is a GeForce RTX 40, 12.0 an RTX 50."""


def main() -> None:
    """Builds every engine and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    parser.add_argument("engines", type=Path)
    parser.add_argument("--network", action="append")
    options = parser.parse_args()
    described = read_manifest(options.repository)
    workload = Workload(described.variant, described.sizes, WINDOWS)
    names = options.network or list(described.networks)
    rows: list[tuple[object, ...]] = []
    for compute_capability in COMPUTE_CAPABILITIES:
        engines = build_engines(
            options.repository,
            options.engines / compute_capability,
            workload,
            Target(compute_capability),
            names,
            lambda stage, *, result=False: print(stage, flush=True) if result else None,
        )
        rows += [
            (
                engine.network,
                engine.precision,
                compute_capability,
                engine.layers,
                f"{engine.engine_bytes / 1e6:,.1f}",
                f"{engine.seconds:.0f}",
                f"{engine.peak_bytes / 1e9:.1f}",
            )
            for engine in engines
        ]
        builder = engines[0].builder
    sizes = ", ".join(f"{width}x{height}" for width, height in described.sizes)
    write(
        "tensorrt.md",
        "engines",
        "TensorRT engines",
        INTRO,
        f"Checkpoint `{described.checkpoint_digest}`, {builder}; sizes {sizes}, windows of "
        f"{', '.join(map(str, sorted(WINDOWS)))} frames.",
        table(
            ("network", "precision", "compute capability", "layers", "MB", "s", "peak, GB"), rows
        ),
    )


if __name__ == "__main__":
    main()
