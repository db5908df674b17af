"""What streams are asked to do and what came of them: pure functions of times in seconds.

Two modes, never mixed in a figure. *Saturating* streams send all of their speech at once and take
frames as they come: that is the ceiling, and says nothing of whether playback waits. *Paced* ones
speak as people do and have a deadline for every frame: that says nothing of the ceiling, since a
server that is fast enough waits for speech.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from server.audio.clock import FRAME_RATE


@dataclass(frozen=True)
class Arrival:
    """A frame that a client has received."""

    at_s: float
    """From the first audio sent."""
    pts_s: float
    """When it is to be shown, from the beginning of the speech."""


@dataclass(frozen=True)
class Trace:
    """What a client saw of one stream."""

    expected: int
    """Frames of what it said."""
    arrivals: tuple[Arrival, ...]
    buffer_s: float = 0.0
    """For how long its player waits after the first frame, as the server advises."""
    interrupts_s: tuple[float, ...] = ()
    """From saying so to the server's answer, of each interruption."""
    lost: str = ""
    """Why the stream ended early, if it did."""

    def __post_init__(self) -> None:
        if len(self.arrivals) > self.expected:
            raise ValueError(f"{len(self.arrivals)} frames came, {self.expected} were expected")
        if not self.lost and len(self.arrivals) < self.expected:
            raise ValueError("a stream without all of its frames was lost")

    @property
    def first_frame_s(self) -> float | None:
        """When the first frame came."""
        return self.arrivals[0].at_s if self.arrivals else None

    @property
    def finished_s(self) -> float | None:
        """When the last frame came; None of a lost stream."""
        return None if self.lost else self.arrivals[-1].at_s


def spoken_at_s(chunks: int, chunk_s: float) -> list[float]:
    """Returns when each of equal chunks has been spoken, and can be sent."""
    return [(number + 1) * chunk_s for number in range(chunks)]


def poisson_arrivals_s(rate_hz: float, until_s: float, seed: int) -> list[float]:
    """Returns when streams open, whatever has become of those before."""
    draw = random.Random(seed)
    arrivals_s: list[float] = []
    at_s = draw.expovariate(rate_hz)
    while at_s < until_s:
        arrivals_s.append(at_s)
        at_s += draw.expovariate(rate_hz)
    return arrivals_s


def intervals_s(trace: Trace) -> list[float]:
    """Returns the times between frames; those of one window come together."""
    return [after.at_s - before.at_s for before, after in pairwise(trace.arrivals)]


def stalled_s(trace: Trace) -> float:
    """Returns for how long a player stands still in the midst.

    It starts when its buffer says so and waits for each frame that is not there.
    """
    stalled = 0.0
    if trace.arrivals:
        start_s = trace.arrivals[0].at_s + trace.buffer_s
        for arrival in trace.arrivals:
            due_s = start_s + stalled + arrival.pts_s
            stalled += max(0.0, arrival.at_s - due_s)
    return stalled


def continuous_share(traces: Sequence[Trace]) -> float:
    """Returns for which share of the time players play, of when they should.

    What a lost stream does not show counts as standing still.

    Raises:
        ValueError: there are no streams.
    """
    should_s = sum(trace.expected / FRAME_RATE + stalled_s(trace) for trace in traces)
    if not should_s:
        raise ValueError("no stream should have played anything")
    return sum(len(trace.arrivals) for trace in traces) / FRAME_RATE / should_s


def frames_per_s(traces: Sequence[Trace]) -> float:
    """Returns the frames of all streams a second, from the beginning to the last one of all."""
    last_s = max((arrival.at_s for trace in traces for arrival in trace.arrivals), default=0.0)
    return sum(len(trace.arrivals) for trace in traces) / last_s if last_s else 0.0


def unfairness(traces: Sequence[Trace]) -> float | None:
    """Returns the last finish of equal streams over their mean one; None if one was lost."""
    finished = [trace.finished_s for trace in traces]
    if None in finished:
        return None
    times = [at_s for at_s in finished if at_s is not None]
    return max(times) * len(times) / sum(times)
