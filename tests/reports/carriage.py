"""How long an execution takes to carry: its tensors by gRPC, and through shared memory.

python -m tests.reports.carriage
"""

import asyncio
import time
from collections.abc import Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from server.triton.client import TritonEngine
from server.triton.contract import (
    DENOISER,
    NUMPY_DTYPES,
    PIXELS_PER_LATENT,
    VAE_DECODER,
    Network,
    latent_frames,
)
from server.triton.shared_memory import shared_memory
from tests.reports import markdown
from tests.support.hollow_triton import hollow_process
from tests.support.public_engine import WIDTHS

SIDES = (512, 768)
FRAMES = 33
TIMES = 12
CHANGING = ("latents", "timestep")
"""Inputs that every step brings; the others are placed."""
LIMIT_BYTES = 2**30
Arrays = dict[str, NDArray[np.generic]]


def inputs(network: Network, side: int) -> Arrays:
    """Returns inputs of a window at the public widths, two rows to a step."""
    lengths = WIDTHS | {
        "latent_frames": latent_frames(FRAMES),
        "latent_height": side // PIXELS_PER_LATENT,
        "latent_width": side // PIXELS_PER_LATENT,
        "text_tokens": 512,
        "heard_frames": FRAMES + 4,
        "rows": 2,
    }
    return {
        tensor.name: np.ones(
            (1, *(dim if isinstance(dim, int) else lengths[dim] for dim in tensor.dims)),
            NUMPY_DTYPES[tensor.dtype],
        )
        for tensor in network.inputs
    }


async def execution_ms(
    engine: TritonEngine, network: Network, side: int, outputs: Sequence[str]
) -> tuple[float, float]:
    """Returns the median of executions one after the other, and the MB of one's tensors."""
    given = inputs(network, side)
    changing = {name: given.pop(name) for name in CHANGING if name in given}
    took_s: list[float] = []
    result: Arrays = {}
    async with engine.place(network, given) as placed:
        for _ in range(TIMES):
            began_s = time.perf_counter()
            result = await placed.run(changing, outputs)
            took_s.append(time.perf_counter() - began_s)
    carried = (*given.values(), *changing.values(), *result.values())
    return 1000 * median(took_s), sum(array.nbytes for array in carried) / 1e6


async def measure() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    async with hollow_process() as url:
        with shared_memory("auto", url, LIMIT_BYTES) as shared:
            engines = [
                TritonEngine(url, timeout_s=120),
                TritonEngine(url, timeout_s=120, shared_memory=shared),
            ]
            for side in SIDES:
                for network, output in ((DENOISER, "velocity"), (VAE_DECODER, "frames")):
                    cells = [
                        await execution_ms(engine, network, side, [output]) for engine in engines
                    ]
                    took_ms = (f"{ms:.0f}" for ms, _ in cells)
                    rows.append((network.name, f"{side}x{side}", f"{cells[0][1]:.0f}", *took_ms))
                    print(rows[-1], flush=True)
            for engine in engines:
                await engine.close()
    return rows


EXPLANATION = """With a Triton on the same host large tensors go through shared memory
([configuration.md](configuration.md#shared-memory)): what stays the same over the steps of a window
is put there once, and nothing is copied out of it."""

CONDITIONS = f"""Milliseconds that one execution takes where nothing is computed, the median of
{TIMES} one after the other, measured on two cores. Widths are the public flash model's, windows
have {FRAMES} frames, tensors 32 bits, and a step two rows, whose constants are placed. The Triton
here is one in Python that answers with zeros: it copies once what it answers."""


def main() -> None:
    header = ("network", "size", "MB", "gRPC, ms", "shared memory, ms")
    table = markdown.table(header, asyncio.run(measure()))
    title = "What carrying tensors to Triton takes"
    markdown.write("carriage.md", "carriage", title, EXPLANATION, CONDITIONS, table)


if __name__ == "__main__":
    main()
