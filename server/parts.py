"""Large arrays are worked on in parts, a thread each: NumPy lets go of Python's lock meanwhile."""

import asyncio
import os
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

Result = TypeVar("Result")

THREADS = min(4, len(os.sched_getaffinity(0)))
"""With more, memory is what they wait for."""
PART_BYTES = 2**19
"""Less takes about as long as the way to another thread."""


async def in_parts(work: Callable[[slice], Result], length: int, nbytes: int) -> list[Result]:
    """Returns what comes of parts of a length, in their order, each worked on in a thread.

    Args:
        work: told its part; others are worked on at the same time.
        length: of what is parted, at least 1.
        nbytes: of all of it, which says how many parts are worth it.
    """
    count = max(1, min(THREADS, length, nbytes // PART_BYTES))
    ends = [length * part // count for part in range(count + 1)]
    slices = [slice(start, end) for start, end in pairwise(ends)]
    return await asyncio.gather(*(asyncio.to_thread(work, part) for part in slices))
