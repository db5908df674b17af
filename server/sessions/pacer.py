"""When the frames of a conversation leave, and what is told of its buffer."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from echomimic_client.playback import PlayerClock
from server.notices import Notice
from server.recorder import SILENT, Recorder
from server.sessions.events import BufferState
from server.sessions.report import Report

TOLD_EVERY_S = 1.0
SPELL_S = 10.0
"""An underrun within so much playback of the one before needs no other warning."""


@dataclass(frozen=True, slots=True)
class Pace:
    """When frames leave.

    Attributes:
        is_realtime: when they are due, rather than as they are made.
        buffer_s: how much of an utterance is made before it is played.
        is_told: whether the client is told of the buffer.
    """

    is_realtime: bool = False
    buffer_s: float = 0.0
    is_told: bool = False

    @property
    def is_counted(self) -> bool:
        """Whether underruns are: what is not made to be played at once has none."""
        return self.is_told or self.buffer_s > 0


AT_ONCE = Pace()
"""As soon as they are made, and nothing is told."""


class Pacer:
    """Keeps the clock of a player that gets the frames of speech as they are made.

    It counts frames of speech alone, from the conversation's first one: what else is shown between
    them is no business of the buffer.
    """

    def __init__(
        self,
        pace: Pace,
        report: Report,
        is_starving: Callable[[], bool],
        recorder: Recorder = SILENT,
    ) -> None:
        """Begins with nothing made.

        Args:
            pace: what is asked for.
            report: has the clock, the frame rate and the speed; is told of underruns.
            is_starving: tells whether speech is missing.
            recorder: told of underruns, whether or not the client is.
        """
        self._pace = pace
        self._report = report
        self._is_starving = is_starving
        self._recorder = recorder
        self._frame_s = float(1 / report.frame_rate)
        self._clock = PlayerClock(pace.buffer_s, self._frame_s)
        self._made = self._left = self._counted = 0
        self._told = self._state(report.now())
        self._told_s = -math.inf
        self._behind_at_s = -math.inf
        """Where playback stood at the last underrun that the machine is to blame for."""

    def made(self) -> None:
        """Says that a frame has been made."""
        self._clock.add(self._made * self._frame_s, self._report.now())
        self._made += 1

    def completed(self) -> None:
        """Says that the last frame of an utterance has been made."""
        self._clock.complete(self._report.now())

    def left(self) -> None:
        """Says that a frame has left."""
        self._left += 1

    def dropped(self) -> None:
        """Says that what has been made and has not left will not leave."""
        self._made = self._left
        self._clock.drop()

    @property
    def hold_s(self) -> float:
        """Seconds until the next frame may leave, infinity where that is not known."""
        if not self._pace.is_realtime:
            return 0.0
        return self._clock.due_s(self._left * self._frame_s) - self._report.now()

    @property
    def slack_s(self) -> float:
        """Seconds that playback can go on for with what has been made; 0 where it waits.

        Where the client reads too late, that is what it has not read at least.
        """
        if not self._clock.is_playing:
            return 0.0
        unread_s = (self._made - self._left) * self._frame_s
        return max(unread_s, self._clock.dry_s - self._report.now())

    @property
    def rest_s(self) -> float:
        """Seconds until there is news; infinity where nothing new happens by itself."""
        if not self._pace.is_counted:
            return math.inf
        now_s = self._report.now()
        moments_s = [self._clock.dry_s]
        if self._pace.is_told and self._state(now_s) != self._told:
            moments_s.append(self._told_s + TOLD_EVERY_S)
        return min(moments_s) - now_s

    def news(self) -> Iterator[BufferState | Notice]:
        """Yields what is to be told of the buffer now."""
        if not self._pace.is_counted:
            return
        now_s = self._report.now()
        self._clock.look(now_s)
        ran_dry = self._clock.underruns - self._counted
        self._counted = self._clock.underruns
        # Where frames wait, the client reads too late.
        is_behind = self._made == self._left and not self._is_starving()
        if ran_dry:
            self._recorder.underruns(ran_dry, "server" if is_behind else "client")
        if not self._pace.is_told:
            return
        self._report.underruns = self._counted
        state = self._state(now_s)
        if ran_dry or (state != self._told and now_s >= self._told_s + TOLD_EVERY_S):
            self._told, self._told_s = state, now_s
            yield state
        if ran_dry and is_behind:
            since_s = self._clock.position_s - self._behind_at_s
            self._behind_at_s = self._clock.position_s
            if since_s >= SPELL_S:
                yield self._warning()

    def _state(self, now_s: float) -> BufferState:
        clock = self._clock
        return BufferState(
            level_s=clock.level_s(now_s),
            is_filling=clock.is_filling,
            underruns=clock.underruns,
            realtime_factor=self._report.speed,
        )

    def _warning(self) -> Notice:
        message = (
            f"frames are made at {self._report.speed:.2f} x real time, slower than they are "
            f"played: whenever none is left, playback waits until {self._pace.buffer_s:g} s are "
            "made again, and no frame is dropped; ask for fewer steps, a smaller size or TeaCache"
        )
        return Notice("BEHIND_REALTIME", message)
