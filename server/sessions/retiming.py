"""From the model's frames to those of another rate, in integers, so nothing drifts."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from server.audio.clock import FRAME_RATE, MODEL_FRAME_RATE
from server.pictures.portrait import Picture


@dataclass(frozen=True, slots=True)
class Retiming:
    """Which of the model's frames a frame shows.

    Attributes:
        frame_rate: frames a second.
        blends: whether a frame between two of the model's is blended of both, rather than the
            nearest one.
    """

    frame_rate: Fraction = MODEL_FRAME_RATE
    blends: bool = False

    def shown(self, frame: int) -> tuple[int, Fraction]:
        """Returns the model's frame that a frame shows, and the part that the next one has."""
        position, unit = frame * FRAME_RATE * self.frame_rate.denominator, self.frame_rate.numerator
        if self.blends:
            whole, rest = divmod(position, unit)
            return whole, Fraction(rest, unit)
        return (2 * position + unit) // (2 * unit), Fraction(0)

    def begins_in(self, frame: int, model_frame: int) -> bool:
        """Tells whether a frame begins before a frame of the model's has ended."""
        rate = self.frame_rate
        return frame * FRAME_RATE * rate.denominator < (model_frame + 1) * rate.numerator

    def first_showing(self, model_frame: int) -> int:
        """Returns the first frame that shows a frame of the model's or a later one."""
        step, unit = FRAME_RATE * self.frame_rate.denominator, self.frame_rate.numerator
        if self.blends:
            return max(0, (model_frame - 1) * unit // step + 1)
        return max(0, -(-(2 * model_frame - 1) * unit // (2 * step)))


OWN_RATE = Retiming()
"""The model's own: every frame, as it is."""


class Retimer:
    """Takes the model's frames of an utterance, in order, and gives those of another rate."""

    def __init__(self, retiming: Retiming) -> None:
        """Begins before the first frame."""
        self._retiming = retiming
        self._next = 0
        self._last: tuple[int, Picture] | None = None

    def add(self, number: int, picture: Picture) -> Iterator[tuple[int, Picture]]:
        """Yields the frames, by number, for which a frame of the model's was the last missing."""
        while True:
            whole, part = self._retiming.shown(self._next)
            if whole + (part > 0) > number:
                break
            yield self._next, self._blended(picture, part) if part else picture
            self._next += 1
        self._last = number, picture

    def finish(self) -> Iterator[tuple[int, Picture]]:
        """Yields the frames that begin before the last of the model's has ended; they show it."""
        if self._last is None:
            return
        number, picture = self._last
        while self._retiming.begins_in(self._next, number):
            yield self._next, picture
            self._next += 1

    def _blended(self, picture: Picture, part: Fraction) -> Picture:
        if self._last is None:
            raise RuntimeError("the first frame shows none but the model's first")
        return blended(self._last[1], picture, part)


def blended(one: Picture, other: Picture, part: Fraction) -> Picture:
    """Returns a picture of which the other has a part, 0 to 1; rounded to a level."""
    weight = np.float32(part)
    mixed = one * (1 - weight) + other * weight
    return np.rint(mixed).astype(np.uint8)
