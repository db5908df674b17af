"""Pictures of what was measured."""

# matplotlib belongs to the development extra alone.
# pyright: reportMissingImports=false

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.bench.hollow import CARRIERS
from tests.bench.load import intervals_s
from tests.bench.reading import Found, by_load, by_setting, traces_of

SIZE_IN = (7, 3.5)


def draw(found: Mapping[str, Found], folder: Path) -> None:
    """Writes a plot for each part that there is."""
    # The same figures make the same file.
    with mpl.rc_context({"svg.hashsalt": "bench", "svg.fonttype": "none"}):
        for name, plot in PLOTS.items():
            if name in found:
                figure = Figure(figsize=SIZE_IN, layout="constrained")
                plot(figure, found[name])
                figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def hollow(figure: Figure, found: Found) -> None:
    """Draws every window of every run."""
    axes = figure.subplots()
    runs = by_setting(found["runs"])
    labels: list[str] = []
    for place, ((side, use), of_setting) in enumerate(runs.items()):
        for run in of_setting:
            windows_s = run["windows_s"]
            axes.plot([place] * len(windows_s), windows_s, "_", color="C0", alpha=0.5)
        labels.append(f"{side}\n{CARRIERS[use]}")
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylabel("seconds a window")
    axes.set_ylim(bottom=0)


def streams(figure: Figure, found: Found) -> None:
    """Draws the shares of intervals between frames, of paced streams."""
    axes = figure.subplots()
    for load, runs in by_load(found["runs"], "paced"):
        values = sorted(
            interval for run in runs for trace in traces_of(run) for interval in intervals_s(trace)
        )
        shares = [(number + 1) / len(values) for number in range(len(values))]
        axes.plot(values, shares, drawstyle="steps-post", label=f"{load:g} streams")
    axes.set_xlabel("seconds between frames")
    axes.set_ylabel("share of frames")
    axes.legend()


def baseline(figure: Figure, found: Found) -> None:
    """Draws the frames a second of every run."""
    axes = figure.subplots()
    ways = list(dict.fromkeys(run["way"] for run in found["runs"]))
    for run in found["runs"]:
        axes.plot(run["frames"] / run["wall_s"], ways.index(run["way"]), "|", color="C0", ms=20)
    axes.set_yticks(range(len(ways)), ways)
    axes.set_xlabel("frames a second")
    axes.set_xlim(left=0)
    axes.margins(y=0.3)


PLOTS = {"hollow": hollow, "streams": streams, "baseline": baseline}
