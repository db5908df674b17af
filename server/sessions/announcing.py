"""What a conversation says by itself as time passes: how far its audio is, and that it is alive.

It is looked for when something can be sent, so that nothing piles up where nobody reads.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from server.sessions.events import AudioPosition, Heartbeat
from server.sessions.report import Report


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often a client is told something, in seconds; infinity is never.

    Attributes:
        position_s: how far its audio is, where that has changed.
        heartbeat_s: that the conversation is alive, where nothing else was sent.
    """

    position_s: float = math.inf
    heartbeat_s: float = math.inf


NEVER = Intervals()


class Announcer:
    """Tells what is to be said, and when."""

    def __init__(self, intervals: Intervals, report: Report) -> None:
        """Begins with nothing said.

        Args:
            intervals: how often.
            report: has the clock, and counts the audio.
        """
        self._intervals = intervals
        self._report = report
        self._told = AudioPosition(0, 0)
        self._look_s = report.now() + intervals.position_s
        """When the position is looked at next."""
        self._sent_s = report.now()

    def sent(self) -> None:
        """Says that something has been sent, whatever it is."""
        self._sent_s = self._report.now()

    @property
    def rest_s(self) -> float:
        """Seconds until there may be something to say."""
        return min(self._look_s, self._sent_s + self._intervals.heartbeat_s) - self._report.now()

    def news(self, animated_samples: int) -> Iterator[AudioPosition | Heartbeat]:
        """Yields what is to be said now.

        Args:
            animated_samples: where the last frame of speech that was sent ends.
        """
        now_s = self._report.now()
        if now_s >= self._look_s:
            self._look_s = now_s + self._intervals.position_s
            position = AudioPosition(self._report.audio_samples, animated_samples)
            if position != self._told:
                self._told = position
                yield position
        if now_s >= self._sent_s + self._intervals.heartbeat_s:
            yield Heartbeat()
