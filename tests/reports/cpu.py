"""What something takes of a core."""

import time
from collections.abc import Callable

import numpy as np

RUNS = 200


def cpu_ms(*runs: Callable[[], object]) -> float:
    """Returns the median of a thread's time, which other programs do not add to."""
    took: list[float] = []
    for number in range(RUNS):
        began = time.thread_time()
        runs[number % len(runs)]()
        took.append(time.thread_time() - began)
    return 1000 * float(np.median(took))
