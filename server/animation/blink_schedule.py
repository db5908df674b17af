"""When a face blinks while it speaks: at the moments of idle motion, where nobody has blinked."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from server.animation.idle_motion import BLINK_EVERY_S, BLINK_LOT, BLINK_S, Motion, closure

LEAST_APART_S = BLINK_EVERY_S * (1 - BLINK_LOT) - 0.1
"""Idle motion's own blinks are further apart."""
FORGETS_S = 3.0
"""Whoever has not blinked for so long has forgotten to. No blink is late enough by it for the next
one to be left out, so there are as many as idle motion has."""
SOON_S = 0.6
"""A blink of the model's that comes so soon needs none before it."""


@dataclass(slots=True)
class LastBlink:
    """When eyes were last seen to blink in what has been shown, whoever made them.

    Attributes:
        at_s: in the stream's time.
    """

    at_s: float = -math.inf


class Course(NamedTuple):
    """When a blink begins, in the stream's time, and how long it takes."""

    begin_s: float
    length_s: float

    @property
    def end_s(self) -> float:
        """When it is over."""
        return self.begin_s + self.length_s

    def closure(self, at_s: float) -> float:
        """Returns how far the lids are closed at a moment, 0 to 1."""
        return closure((at_s - self.begin_s) / self.length_s)


class BlinkSchedule:
    """Tells which frames of speech blinks are laid over."""

    def __init__(self, seed: int, frame_s: float, last: LastBlink) -> None:
        """Begins with a stream.

        Args:
            seed: of the motion.
            frame_s: from one frame to the next.
            last: of the blinks that have been shown.
        """
        self._motion = Motion(seed)
        self._frame_s = frame_s
        self._last = last
        self._planned_s = 0.0
        """When the last blink is that has been seen or laid, and may not have been shown yet."""
        self._course: Course | None = None
        """Of the blink that goes on, or was the last one."""

    @property
    def longest(self) -> int:
        """Frames in which the longest blink is to be seen."""
        return math.ceil(BLINK_S[1] / self._frame_s)

    def forget(self) -> None:
        """Says that what has been planned and not shown will not be shown."""
        self._planned_s = max(0.0, self._last.at_s)
        self._course = None

    def courses(
        self, times_s: Sequence[float], shut: Collection[int], room: range
    ) -> list[Course | None]:
        """Returns the blinks that are laid over frames which follow each other.

        Args:
            times_s: when each is shown.
            shut: those in which the model has shut the eyes.
            room: those that a blink which begins in them has to be in as a whole.
        """
        courses: list[Course | None] = []
        for number, at_s in enumerate(times_s):
            if number in shut:
                self._planned_s = max(self._planned_s, at_s)
            if self._course is None or at_s >= self._course.end_s:
                self._course = self._due(number, at_s, shut, room)
            if self._course is not None:
                self._planned_s = max(self._planned_s, self._course.begin_s)
            courses.append(self._course)
        return courses

    def _due(self, number: int, at_s: float, shut: Collection[int], room: range) -> Course | None:
        """Returns the blink that is first to be seen in a frame, if one is due."""
        moment_s, length_s = self._motion.blink(at_s)
        course = Course(max(moment_s, at_s - self._frame_s), length_s)
        frames = math.ceil((course.end_s - at_s) / self._frame_s)
        soon = range(number, number + frames + round(SOON_S / self._frame_s))
        last_s = max(self._planned_s, self._last.at_s)
        is_due = moment_s > last_s and course.begin_s >= last_s + FORGETS_S
        fits = room.start <= number and number + frames <= room.stop
        return course if is_due and fits and not any(n in soon for n in shut) else None
