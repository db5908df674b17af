"""What is said of repeated measurements: nearest-rank percentiles, and what of two is less."""

import math
from collections.abc import Sequence
from enum import Enum
from itertools import chain

Runs = Sequence[Sequence[float]]
"""Values of some runs of the same thing."""


class Verdict(Enum):
    """What a comparison comes to."""

    LESS = "less"
    MORE = "more"
    INCONCLUSIVE = "inconclusive"


def percentile(values: Sequence[float], rank: float) -> float:
    """Returns the least of the values that so many percent of them do not exceed.

    Raises:
        ValueError: there are no values, or the rank is not above 0 and at most 100.
    """
    if not values or not 0 < rank <= 100:
        raise ValueError(f"no percentile {rank} of {len(values)} values")
    return sorted(values)[math.ceil(rank / 100 * len(values)) - 1]


def median(values: Sequence[float]) -> float:
    """Returns the nearest-rank percentile 50."""
    return percentile(values, 50)


def joined(runs: Runs) -> list[float]:
    """Returns the values of all runs."""
    return list(chain.from_iterable(runs))


def spread(runs: Runs) -> float:
    """Returns how far the medians of runs of the same thing are from each other."""
    medians = [median(run) for run in runs]
    return max(medians) - min(medians)


def compare(runs: Runs, others: Runs) -> Verdict:
    """Tells whether one thing takes less than another.

    It does not where runs of the same thing differ as much as the two things do.
    """
    difference = median(joined(runs)) - median(joined(others))
    if abs(difference) <= max(spread(runs), spread(others)):
        return Verdict.INCONCLUSIVE
    return Verdict.LESS if difference < 0 else Verdict.MORE
