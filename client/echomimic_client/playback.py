"""When a player may start, and which frame is due.

The server keeps the time of its streams by the same clock, so this module knows no other.
"""

from collections.abc import Iterable
from math import inf

EARLY_S = 1e-6
"""Less than any difference between frames: what sums of fractions may be off by."""


def playable_latency_s(arrivals: Iterable[tuple[float, float]]) -> float:
    """Returns the smallest delay after which playback never waits for a frame.

    A player that shows the frame of presentation time p at the moment start + p has it by then if
    the start is no earlier than its arrival - p, for every frame.

    Args:
        arrivals: (arrival, presentation time) of each frame, in seconds; arrivals from the first
            audio sent.

    Raises:
        ValueError: there are no frames.
    """
    return max(arrival_s - pts_s for arrival_s, pts_s in arrivals)


class PlayerClock:
    """Tells when frames are due.

    Playback begins once the buffer has filled, or all of an utterance is there. From then on frames
    are due at their presentation times. One that is due and not there is an underrun: playback
    waits until the buffer has filled again, and goes on with that frame, so that later ones are
    late by as long and none is dropped. Where the utterance is over nothing is waited for, and what
    comes next fills the buffer anew.

    It never looks at a clock itself: the moments are arguments, seconds of a monotonic clock. All
    other times are presentation times, in seconds.
    """

    def __init__(self, buffer_s: float, frame_s: float) -> None:
        """Begins with nothing to be played.

        Args:
            buffer_s: how much is to be there before playback begins.
            frame_s: how long a frame is shown.
        """
        self.underruns = 0
        self.position_s = 0.0
        """Where playback stands while it waits, or stood when it began."""
        self._buffer_s = buffer_s
        self._frame_s = frame_s
        self._end_s = 0.0
        """Where the frames that are there end."""
        self._began_s: float | None = None
        """When playback began; None while it waits."""
        self._is_complete = True

    @property
    def is_playing(self) -> bool:
        """Whether frames are due one after the other."""
        return self._began_s is not None

    @property
    def is_filling(self) -> bool:
        """Whether playback waits for the buffer to fill."""
        return not self.is_playing and not self._is_complete

    def add(self, pts_s: float, now_s: float) -> None:
        """Takes note of the next frame."""
        self.look(now_s)
        if self._end_s <= self.position_s and not self.is_playing:
            self.position_s = pts_s
        self._end_s = pts_s + self._frame_s
        self._is_complete = False
        self._begin_if_filled(now_s)

    def complete(self, now_s: float) -> None:
        """Takes note that the last frame of the utterance is there."""
        self.look(now_s)
        self._is_complete = True
        self._begin_if_filled(now_s)

    def look(self, now_s: float) -> None:
        """Takes note of the time, as at `dry_s`."""
        if now_s >= self.dry_s - EARLY_S:
            self.position_s, self._began_s = self._end_s, None
            self.underruns += not self._is_complete

    def drop(self) -> None:
        """Takes note that what is there will not be played."""
        self._end_s = self.position_s
        self._began_s = None
        self._is_complete = True

    def due_s(self, pts_s: float) -> float:
        """Returns when a frame is due.

        That is infinity where playback has to begin first, and minus infinity where it is past it.
        """
        if pts_s < self.position_s - EARLY_S:
            return -inf
        return inf if self._began_s is None else self._began_s + pts_s - self.position_s

    @property
    def dry_s(self) -> float:
        """When a frame will be due that is not there; infinity while playback waits."""
        return self.due_s(self._end_s)

    def level_s(self, now_s: float) -> float:
        """Returns the length of what is there and has not been played."""
        if self._began_s is None:
            return self._end_s - self.position_s
        return max(0.0, self.dry_s - now_s)

    def at_s(self, now_s: float) -> float:
        """Returns the presentation time that is played, or where playback waits."""
        return self._end_s - self.level_s(now_s)

    def _begin_if_filled(self, now_s: float) -> None:
        length_s = self._end_s - self.position_s
        wanted_s = 0.0 if self._is_complete else self._buffer_s
        if self._began_s is None and length_s > 0 and length_s >= wanted_s - EARLY_S:
            self._began_s = now_s
