"""Results as they were written, grouped for whoever reads them."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench.hollow import CARRIERS, FRESH
from tests.bench.load import Arrival, Trace
from tests.bench.spread import median

Found = Mapping[str, Any]
"""A part's JSON, or one run in it."""


def by_setting(runs: Sequence[Found]) -> dict[tuple[int, str], list[Found]]:
    """Returns hollow runs by size and carrier."""
    found: dict[tuple[int, str], list[Found]] = {}
    for run in runs:
        found.setdefault((run["side"], run["carrier"]), []).append(run)
    return {
        (side, use): found[side, use]
        for side in sorted({side for side, _ in found})
        for use in CARRIERS
    }


def by_load(runs: Sequence[Found], mode: str) -> list[tuple[float, list[Found]]]:
    """Returns runs of streams in a mode, by how many."""
    found: dict[float, list[Found]] = {}
    for run in runs:
        if run["mode"] == mode:
            found.setdefault(run["load"], []).append(run)
    return sorted(found.items())


def by_way(runs: Sequence[Found]) -> dict[str, list[list[float]]]:
    """Returns the seconds a frame of the baseline's runs."""
    found: dict[str, list[list[float]]] = {}
    for run in runs:
        found.setdefault(run["way"], []).append([run["wall_s"] / run["frames"]])
    return found


def traces_of(run: Found) -> list[Trace]:
    """Returns the traces of a run of streams."""
    return [
        Trace(
            **{
                **trace,
                "arrivals": tuple(Arrival(**arrival) for arrival in trace["arrivals"]),
                "interrupts_s": tuple(trace["interrupts_s"]),
            }
        )
        for trace in run["traces"]
    ]


def firsts_s(runs: Sequence[Found]) -> list[float]:
    """Returns when first frames came, of all streams of some runs that had one."""
    firsts = [trace.first_frame_s for run in runs for trace in traces_of(run)]
    return [first_s for first_s in firsts if first_s is not None]


def jpeg_costs(runs: Sequence[Found]) -> tuple[float, float, float]:
    """Returns the gateway's CPU time a frame, and that of a black and of a real JPEG alone."""
    black_s, real_s = (
        median([run["jpeg_s"][name] for run in runs]) for name in ("black", "portrait")
    )
    return mean(runs, "cpu_s") / FRESH, black_s, real_s


def mean(runs: Sequence[Found], name: str) -> float:
    """Returns the mean of a figure of some runs."""
    return sum(run[name] for run in runs) / len(runs)
