"""What the server is to reach, and whether it does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from server.audio.clock import FRAME_RATE
from tests.bench.load import frames_per_s, unfairness
from tests.bench.reading import (
    Found,
    by_load,
    by_setting,
    by_way,
    firsts_s,
    jpeg_costs,
    mean,
    traces_of,
)
from tests.bench.spread import joined, median
from tests.reports.markdown import table

Figure = Callable[[Found], float]


DISTURBED = 0.05
"""Share of the cores that other programs took, beyond which times decide nothing."""


@dataclass(frozen=True)
class Goal:
    """A figure of a part, and the most or least that it is to be; most figures are times."""

    name: str
    part: str
    figure: Figure
    unit: str
    most: float | None = None
    least: float | None = None
    timed: bool = True

    def reached(self, value: float) -> bool:
        """Tells whether a value is good enough."""
        enough = self.least is None or value >= self.least
        return enough and (self.most is None or value <= self.most)

    @property
    def wanted(self) -> str:
        """Returns the limit in words."""
        limit, word = (self.most, "at most") if self.least is None else (self.least, "at least")
        return f"{word} {limit:g} {self.unit}".strip()


def outside_s(side: int) -> Figure:
    """Returns the seconds outside networks of a window by shared memory, at a size."""

    def figure(found: Found) -> float:
        runs = by_setting(found["runs"])[side, "auto"]
        return median(joined([run["windows_s"] for run in runs])) - mean(runs, "computed_s")

    return figure


def step_megabytes(found: Found) -> float:
    """Returns the bytes of a step by gRPC at 512x512."""
    return mean(by_setting(found["runs"])[512, "off"], "step_bytes") / 1e6


def jpegs(found: Found) -> float:
    """Returns the gateway's CPU time of a frame at 512x512 as a multiple of a JPEG's."""
    frame_s, black_s, real_s = jpeg_costs(by_setting(found["runs"])[512, "auto"])
    return (frame_s - black_s + real_s) / real_s


def outside_triton(found: Found) -> float:
    """Returns the share of a saturating stream's time in which Triton does nothing for it."""
    runs = dict(by_load(found["runs"], "saturating"))[1]
    return 100 * (1 - mean(runs, "triton_s") / mean(runs, "wall_s"))


def rate(count: int) -> Figure:
    """Returns the frames a second of so many saturating streams."""

    def figure(found: Found) -> float:
        runs = dict(by_load(found["runs"], "saturating"))[count]
        return median([frames_per_s(traces_of(run)) for run in runs])

    return figure


def unfair(found: Found) -> float:
    """Returns the worst last finish over the mean one, of eight equal streams."""
    runs = dict(by_load(found["runs"], "saturating"))[8]
    shares = [unfairness(traces_of(run)) for run in runs]
    return max(float("inf") if share is None else share for share in shares)


def times_pytorch(way: str) -> Figure:
    """Returns how many times as many frames a second a way makes."""

    def figure(found: Found) -> float:
        ways = by_way(found["runs"])
        return median(joined(ways["pytorch"])) / median(joined(ways[way]))

    return figure


def realtime(found: Found) -> float:
    """Returns a saturating stream's seconds of video a second."""
    return rate(1)(found) / FRAME_RATE


def first_frame_s(found: Found) -> float:
    """Returns when the first frame of a paced stream comes."""
    return median(firsts_s(dict(by_load(found["runs"], "paced"))[1]))


def eight_against_one(found: Found) -> float:
    """Returns how many times as many frames eight streams get, all together."""
    return rate(8)(found) / rate(1)(found)


def start_s(found: Found) -> float:
    """Returns how long a gateway takes to serve."""
    return median(found["starts_s"])


def idle_megabytes(found: Found) -> float:
    """Returns by how much idle streams let a gateway grow."""
    return found["idle"]["bytes"] / 1e6


def idle_cpu(found: Found) -> float:
    """Returns the share of a core that idle streams take."""
    return 100 * found["idle"]["cores"]


EXACT, SKIPPING = times_pytorch("server"), times_pytorch("teacache")
IN_16_BITS = "512x512, networks in 16 bits"
GOALS = (
    Goal(f"outside networks, a window of 1.12 s, {IN_16_BITS}", "hollow", outside_s(512), "s", 0.1),
    Goal("the same at 768x768", "hollow", outside_s(768), "s", 0.2),
    Goal(f"a step by gRPC, {IN_16_BITS}", "hollow", step_megabytes, "MB", 9, timed=False),
    Goal("gateway CPU of a frame, in JPEGs encoded alone, 512x512", "hollow", jpegs, "", 2),
    Goal("time of one stream outside Triton, demo", "streams", outside_triton, "%", 5),
    Goal("one stream, demo, x real time", "streams", realtime, "", least=1),
    Goal("first frame of one paced stream, demo", "streams", first_frame_s, "s", 1),
    Goal("frames/s of 8 streams against one, demo", "streams", eight_against_one, "", 1.1),
    Goal("last finish of 8 equal streams over the mean", "streams", unfair, "", 1.05),
    Goal("from starting to serving, demo", "streams", start_s, "s", 2),
    Goal("memory of 1,000 idle streams", "streams", idle_megabytes, "MB", 500, timed=False),
    Goal("CPU of 1,000 idle streams, of a core", "streams", idle_cpu, "%", 5),
    Goal("frames/s against PyTorch eager, exact", "baseline", EXACT, "", least=2),
    Goal("the same with TeaCache", "baseline", SKIPPING, "", least=3),
)


def goals_table(found: Mapping[str, Found]) -> str:
    """Returns every goal with what was measured; of a quick run, nothing is."""
    rows: list[tuple[str, ...]] = []
    for goal in GOALS:
        part = found.get(goal.part)
        if part is None or part["quick"]:
            rows.append((goal.name, goal.wanted, "", "not measured"))
            continue
        value = goal.figure(part)
        measured = f"{value:.3g} {goal.unit}".strip()
        rows.append((goal.name, goal.wanted, measured, verdict(goal, value, part.get("others"))))
    return table(("what", "goal", "measured", "verdict"), rows)


def verdict(goal: Goal, value: float, others: float | None) -> str:
    """Returns whether a goal is reached, if that can be told beside other programs.

    Their share is None where it was not counted.
    """
    if goal.timed and (others is None or others > DISTURBED):
        return "inconclusive"
    return "reached" if goal.reached(value) else "**missed**"
