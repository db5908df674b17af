"""An eye in a picture, moved: the lids close over it and the iris shifts.

where a pixel is shown -> where it is looked up, and how much of the skin covers it

In axes of the eye's own: p along it from corner to corner, and q across. The upper lid slides down
over the eyeball, its skin drawn out from below the brow, and the lower one rises a little. Between
them is the eyeball as it was, with the iris pushed aside.
"""

import math

import numpy as np
from numpy.typing import NDArray

from server.animation.idle_motion import Pose
from server.pictures.face_finder import Box
from server.pictures.fine import FinePicture, Floats, Pixels, laid
from server.pictures.mesh import Eye, FaceMesh

UPPER_PART = 0.9
"""Of an open eye's height, what the upper lid travels to close it; the lower one rises the rest."""
SKIN = np.array([1.0, 1.6], np.float32)
"""Heights of the eye, below and above it, from which skin is drawn: with less it would fold."""
LASHES = (0.03, 0.11)
"""How far the line of lashes reaches into the eye and beyond its contour, in lengths of the eye: it
moves with the lid as it is, and only the skin beyond is drawn out."""
FOLLOWS = 0.7
"""How far the upper lid goes down with an eye that looks down."""
SMOOTH = 4
"""The degree of the curves that lids are."""
POINTS = 256
"""Along a lid, at which it is known where its edge is."""
WIDEST_OPEN = 0.39
"""People's eyes are open by less than that of their length; lids of drawn ones are elsewhere."""


def can_move(mesh: FaceMesh) -> bool:
    """Tells whether a face's lids and irises can be moved; those of drawn, large eyes cannot."""
    return all(eye.openness < WIDEST_OPEN for eye in mesh.eyes)


TRAVELS = (1 - UPPER_PART, UPPER_PART)
"""Of what closes an eye: the lower lid's part, and the upper one's."""


class EyeWarp:
    """Draws an eye in any pose."""

    def __init__(self, eye: Eye) -> None:
        """Measures an eye."""
        upper, lower = eye.upper_lid, eye.lower_lid
        across = (upper[-1] - upper[0]) @ np.array([[0, 1], [-1, 0]], np.float32)
        if (lower - upper).mean(axis=0) @ across < 0:
            upper, lower = upper[::-1], lower[::-1]
        x, y = upper[0].tolist()
        self._corner = x, y
        along_x, along_y = (upper[-1] - upper[0]).tolist()
        self._along = along_x, along_y
        self._length = math.hypot(along_x, along_y)
        self._iris = min(0.75, max(0.25, float(self._own(eye.iris[None])[0, 0])))
        self._radius = eye.iris_radius / self._length
        self._top = self._curve(upper) + LASHES[0]
        self._open = np.maximum(self._curve(lower) - LASHES[0] - self._top, 0)
        self._open[[0, -1]] = 0
        self._height = max(0.05, float(self._open.max()))
        self._skin = SKIN * np.float32(self._height)
        self._above, self._below = float(self._top.min()), float((self._top + self._open).max())

    def box(self, pose: Pose) -> Box:
        """Returns left, top, right and bottom of what may look otherwise in a pose."""
        low, high = self._reach(pose)
        (x, y), (a, b) = self._corner, self._along
        corners = [(x + a * p - b * q, y + b * p + a * q) for p in (0, 1) for q in (low, high)]
        across, down = zip(*corners, strict=True)
        return min(across), min(down), max(across), max(down)

    def drawn(
        self, fine: FinePicture, x: Floats, y: Floats, pose: Pose
    ) -> tuple[NDArray[np.intp], Pixels]:
        """Returns which of some points look otherwise in a pose, and what is seen there.

        Args:
            fine: of the picture, around the eye.
            x: of places in it, [points].
            y: likewise.
            pose: of which lids and gaze count.
        """
        p, q = self._places(fine, x, y)
        low, high = self._reach(pose)
        at = np.flatnonzero((p > 0) & (p < 1) & (q > low) & (q < high))
        p, q = p[at], q[at]
        top, opening = self._lids(p)
        moved = np.float32(self._closed(pose)) * opening
        covers = self._covers(q, top, opening, moved)
        inside = np.flatnonzero(covers.max(axis=0) < 1)
        ball = fine.look_up(
            *self._in_fine(
                fine,
                *self._eyeball(p[inside], q[inside], top[inside], opening[inside], pose.gaze),
            )
        )
        if not self._closed(pose):
            # Lids that do not move look as they do.
            at = at[inside]
            return at, laid(fine.look_up(x[at], y[at]), ball, 1 - covers.max(axis=0)[inside])
        pixels = np.zeros(len(at), np.uint32)
        pixels[inside] = ball
        for side, cover in enumerate(covers):
            over = np.flatnonzero(cover)
            lid_q = self._lid(side, q[over], top[over], opening[over], moved[over])
            found = fine.look_up(*self._in_fine(fine, p[over], lid_q))
            pixels[over] = laid(pixels[over], found, cover[over])
        return at, pixels

    def _covers(self, q: Floats, top: Floats, opening: Floats, moved: Floats) -> Floats:
        """Returns how much the lower lid and the upper one cover points, 0 to 1, [2, points]."""
        above = top - q
        beyond = np.stack([TRAVELS[0] * moved - above - opening, TRAVELS[1] * moved + above])
        return (beyond * self._length + 0.5).clip(0, 1)

    def _lid(self, side: int, q: Floats, top: Floats, opening: Floats, moved: Floats) -> Floats:
        """Returns where, across the eye, a lid is looked up whose edge has moved over it.

        Args:
            side: 0 for the lid below the eye, 1 for that above it.
            q: of points that it covers.
            top: where the upper lid's edge rests.
            opening: how far below it the lower one's does.
            moved: how far they have come together.
        """
        sign, rest = (-1, top) if side else (1, top + opening)
        # Skin goes on without a bend where nothing moves, and lashes move as they are.
        reach = float(self._skin[side])
        place, skin = reach - sign * (q - rest), reach - sum(LASHES)
        length = skin + TRAVELS[side] * moved
        part, stretch = (place / length).clip(0, 1), length / skin
        drawn = skin * part * (stretch + (1 - stretch) * part)
        drawn += place.clip(max=0) + (place - length).clip(min=0)
        return rest + sign * (reach - drawn)

    def _eyeball(
        self,
        p: Floats,
        q: Floats,
        top: Floats,
        opening: Floats,
        gaze: tuple[float, float],
    ) -> tuple[Floats, Floats]:
        """Returns where the eyeball is looked up; the opening between the lids keeps its shape."""
        near = (1.6 * np.minimum(p / self._iris, (1 - p) / (1 - self._iris))).clip(0, 1)
        part = ((q - top) / opening.clip(min=1e-3)).clip(0, 1)
        p = p - np.float32(gaze[0] * self._radius) * near
        top, opening = self._lids(p)
        return p, top + part * opening - gaze[1] * self._radius * near * 4 * part * (1 - part)

    def _lids(self, p: Floats) -> tuple[Floats, Floats]:
        """Returns where the upper lid's edge is, and how far below it the lower one's."""
        at = (p.clip(0, 1) * POINTS).astype(np.intp)
        return self._top[at], self._open[at]

    def _places(self, fine: FinePicture, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Returns places of the fine picture in axes of the eye, in lengths of it."""
        corner_x, corner_y = fine.place(*self._corner)
        x, y = x - np.float32(corner_x), y - np.float32(corner_y)
        a, b = (np.float32(side / (self._length**2 * fine.factor)) for side in self._along)
        return a * x + b * y, a * y - b * x

    def _in_fine(self, fine: FinePicture, p: Floats, q: Floats) -> tuple[Floats, Floats]:
        """Returns places in axes of the eye in those of the fine picture."""
        x, y = fine.place(*self._corner)
        a, b = (np.float32(side * fine.factor) for side in self._along)
        return np.float32(x) + a * p - b * q, np.float32(y) + b * p + a * q

    def _closed(self, pose: Pose) -> float:
        """Returns how far the lids close; the upper one follows an eye that looks down."""
        looks_down = FOLLOWS * max(0.0, pose.gaze[1]) * self._radius / self._height
        return max(pose.closure, min(1.0, looks_down))

    def _reach(self, pose: Pose) -> tuple[float, float]:
        """Returns between which q something may look otherwise: skin only if lids move."""
        moves = self._closed(pose) > 0
        below, above = self._skin.tolist() if moves else [1 / self._length] * 2
        return self._above - above, self._below + below

    def _curve(self, lid: Floats) -> NDArray[np.float32]:
        """Returns where a lid's edge is at each of the points along it."""
        own = self._own(lid)
        curve = np.polyfit(own[:, 0], own[:, 1], SMOOTH)
        return np.polyval(curve, np.linspace(0, 1, POINTS + 1)).astype(np.float32)

    def _own(self, points: Floats) -> Floats:
        """Returns points of the picture, [n, 2], in axes of the eye, in lengths of it."""
        a, b = (side / self._length**2 for side in self._along)
        return (points - self._corner) @ np.array([[a, -b], [b, a]])
