"""How a face moves by itself: blinks, gaze and head as pure functions of time, by lot of a seed.

Time is cut into slots of one length, and each has one event at a moment of its own. So any moment
can be asked for by itself, however long a stream is, there are as many events in every minute, and
the time between two of them is bounded: by the slot's length, less or plus its part that is left to
lot. Lids close faster than they open (VanderWerf et al., 2003).
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from random import Random

BLINK_EVERY_S, BLINK_LOT = 4.0, 0.6
"""15 blinks a minute, 1.6 to 6.4 s apart."""
BLINK_S = (0.18, 0.25)
"""How long a blink takes, at least and at most."""
CLOSING, CLOSED = 0.3, 0.2
"""Parts of a blink; the rest is opening."""
GAZE_EVERY_S, GAZE_LOT = 3.5, 3 / 7
"""Shifts of gaze 2 to 5 s apart."""
SACCADE_S = 0.06
GAZE = (0.45, 0.2)
"""How far an eye turns to either side, up and down at most, in radii of its iris."""
HEAD_X, HEAD_Y, ROLL = 0.015, 0.012, math.radians(0.9)
"""How far a head moves at most: in widths of the face, and in radians."""
TURN = (0.03, 0.02)
"""How far the middle of a face moves more than its rim, as the head turns and nods."""
SWAYS_S = (6.1, 10.7)
"""Periods of the head's movements, which never come together again."""
GLANCE_EVERY_S, GLANCE_LOT = 15.0, 0.6
"""A listener looks away 4 times a minute, 6 to 24 s apart."""
GLANCE_S = 0.8
"""How long, before the eyes are back."""
GLANCE = (0.15, 0.06)
"""How far, as `GAZE`."""
CALM = 0.5
"""The part of the head's sway that is left in a listener. The rest is room for nods."""
NOD_EVERY_S, NOD_LOT = 7.5, 0.6
"""8 nods a minute, 3 to 12 s apart."""
NOD_S = 1.0
"""How long a nod takes, down and up."""


@dataclass(frozen=True, slots=True)
class Pose:
    """How a face differs from its picture; x to the right and y down.

    Attributes:
        closure: of the lids: 0 is as in the picture, 1 closed.
        gaze: shift of the irises, in their radii: x and y.
        shift: of the head, in widths of the face: x and y.
        turn: of the middle of the face against its rim, in widths of the face: x and y.
        roll: of the head, clockwise as it is seen, in radians.
    """

    closure: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    shift: tuple[float, float] = (0.0, 0.0)
    turn: tuple[float, float] = (0.0, 0.0)
    roll: float = 0.0


class Motion:
    """The idle motion that a seed stands for."""

    def __init__(self, seed: int) -> None:
        """Begins nowhere: every moment can be asked for."""
        self._seed = seed
        # The last ones are asked for again and again, and drawing them takes a while.
        self._lot = lru_cache(32)(self._draw_lot)
        self._phases = {name: self._lot(name, 0) for name in ("x", "y", "roll", "yaw", "nod")}

    def pose(
        self, at_s: float, awake: float = 1.0, *, attention: float = 0.0, blinks: bool = True
    ) -> Pose:
        """Returns the pose at a moment.

        Args:
            at_s: the moment, in seconds from the stream's start.
            awake: how much of gaze and head there is, 0 to 1.
            attention: how much of a listener is in them, 0 to 1.
            blinks: whether a blink of that moment is in it.
        """
        (x, y), (glance_x, glance_y) = self.gaze(at_s), self.glance(at_s)
        swaying = awake * (1 - attention * (1 - CALM))
        sway = {name: swaying * self._sway(name, at_s) for name in self._phases}
        nod = awake * attention * (1 - CALM) * self.nod(at_s)
        return Pose(
            closure=self.closure(at_s) if blinks else 0.0,
            gaze=(
                awake * (x + attention * (glance_x - x)),
                awake * (y + attention * (glance_y - y)),
            ),
            shift=(HEAD_X * sway["x"], HEAD_Y * (sway["y"] + nod)),
            turn=(TURN[0] * sway["yaw"], TURN[1] * (sway["nod"] + nod)),
            roll=ROLL * sway["roll"],
        )

    def closure(self, at_s: float) -> float:
        """Returns how far a blink has closed the lids, 0 to 1."""
        begin_s, length_s = self.blink(at_s)
        return closure((at_s - begin_s) / length_s)

    def blink(self, at_s: float) -> tuple[float, float]:
        """Returns when the last blink began, at a moment, and how long it takes."""
        slot = self._slot(at_s, "blink", BLINK_EVERY_S, BLINK_LOT)
        shortest_s, longest_s = BLINK_S
        _, part, _ = self._lot("blink", slot)
        begin_s = self._moment("blink", slot, BLINK_EVERY_S, BLINK_LOT)
        return begin_s, shortest_s + part * (longest_s - shortest_s)

    def gaze(self, at_s: float) -> tuple[float, float]:
        """Returns where the eyes look, in radii of the iris from where the picture's do."""
        slot = self._slot(at_s, "gaze", GAZE_EVERY_S, GAZE_LOT)
        begin_s = self._moment("gaze", slot, GAZE_EVERY_S, GAZE_LOT)
        (x0, y0), (x1, y1) = self._target(slot - 1), self._target(slot)
        done = smooth((at_s - begin_s) / SACCADE_S)
        return x0 + done * (x1 - x0), y0 + done * (y1 - y0)

    def glance(self, at_s: float) -> tuple[float, float]:
        """Returns where the eyes of a listener look: at whoever talks, but for glances."""
        slot = self._slot(at_s, "glance", GLANCE_EVERY_S, GLANCE_LOT)
        since_s = at_s - self._moment("glance", slot, GLANCE_EVERY_S, GLANCE_LOT)
        away = smooth(since_s / SACCADE_S) - smooth((since_s - GLANCE_S) / SACCADE_S)
        x, y = self._aside("glance", slot, GLANCE)
        return away * x, away * y

    def nod(self, at_s: float) -> float:
        """Returns how far a listener's nod has got, 0 to 1."""
        slot = self._slot(at_s, "nods", NOD_EVERY_S, NOD_LOT)
        part = (at_s - self._moment("nods", slot, NOD_EVERY_S, NOD_LOT)) / NOD_S
        return math.sin(math.pi * part) ** 2 if part < 1 else 0.0

    def _target(self, slot: int) -> tuple[float, float]:
        """Every other look is back at whoever is spoken to, so that each is a shift to be seen."""
        if slot % 2 == 0:
            return 0.0, 0.0
        return self._aside("gaze", slot, GAZE)

    def _aside(self, name: str, slot: int, most: tuple[float, float]) -> tuple[float, float]:
        _, across, down = self._lot(name, slot)
        side = 1 if across < 0.5 else -1
        return side * most[0] * (0.5 + abs(across - 0.5)), most[1] * (2 * down - 1)

    def _sway(self, name: str, at_s: float) -> float:
        """Returns a slow movement, -1 to 1."""
        first, second, share = self._phases[name]
        parts = zip((0.4 + 0.2 * share, 0.6 - 0.2 * share), SWAYS_S, (first, second), strict=True)
        return sum(
            size * math.sin(2 * math.pi * (at_s / period_s + phase))
            for size, period_s, phase in parts
        )

    def _slot(self, at_s: float, name: str, every_s: float, lot: float) -> int:
        """Returns the slot of the last event at a moment; -1 is before the first."""
        slot = math.floor(at_s / every_s)
        return slot if self._moment(name, slot, every_s, lot) <= at_s else slot - 1

    def _moment(self, name: str, slot: int, every_s: float, lot: float) -> float:
        return every_s * (slot + 0.5 + lot * (self._lot(name, slot)[0] - 0.5))

    def _draw_lot(self, name: str, number: int) -> tuple[float, float, float]:
        """Draws three numbers, 0 to 1, the same ones each time."""
        lots = Random(f"{self._seed} {name} {number}")
        return lots.random(), lots.random(), lots.random()


def closure(part: float) -> float:
    """Returns how far the lids are closed when a part of a blink, 0 to 1, is over."""
    if part < CLOSING:
        return smooth(part / CLOSING)
    return 1 - smooth((part - CLOSING - CLOSED) / (1 - CLOSING - CLOSED))


def smooth(part: float) -> float:
    """Returns 0 before 0, 1 after 1, and goes over without a jerk."""
    part = min(1.0, max(0.0, part))
    return part * part * (3 - 2 * part)
