"""An eye in a picture, moved: the lids close over it and the iris shifts.

where a pixel is shown -> where it is looked up, and how much of the skin covers it

In axes of the eye's own: p along it from corner to corner, and q across. The upper lid slides down
over the eyeball, its skin drawn out from below the brow, and the lower one rises a little. Between
them is the eyeball as it was, with the iris pushed aside.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.animation.idle_motion import Pose
from server.pictures.fine import FinePicture, Floats, colors
from server.pictures.mesh import Eye, FaceMesh

UPPER_PART = 0.9
"""Of an open eye's height, what the upper lid travels to close it; the lower one rises the rest."""
SKIN = 1.6
"""Heights of the eye, above and below, from which skin is drawn; with less than 1 it would fold."""
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


class Layer(NamedTuple):
    """Where points are looked up, and how much of what is there covers what is below it, 0 to 1."""

    x: Floats
    y: Floats
    cover: Floats


class EyeWarp:
    """Tells where an eye's pixels come from, in any pose."""

    def __init__(self, eye: Eye) -> None:
        """Measures an eye."""
        upper, lower = eye.upper_lid, eye.lower_lid
        across = (upper[-1] - upper[0]) @ np.array([[0, 1], [-1, 0]], np.float32)
        if (lower - upper).mean(axis=0) @ across < 0:
            upper, lower = upper[::-1], lower[::-1]
        self._corner = upper[0]
        self._length = float(np.linalg.norm(upper[-1] - upper[0]))
        along = (upper[-1] - upper[0]) / self._length
        # Across is from the upper lid to the lower one.
        self._axes = np.stack([along, (-along[1], along[0])]).astype(np.float32)
        self._iris = float(np.clip(self._own(*eye.iris)[0], 0.25, 0.75))
        self._radius = eye.iris_radius / self._length
        self._top = self._curve(upper) + LASHES[0]
        self._open = np.maximum(self._curve(lower) - LASHES[0] - self._top, 0)
        self._open[[0, -1]] = 0
        self._height = max(0.05, float(self._open.max()))
        self._skin = SKIN * self._height

    def moves(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """Tells which points of the picture may be seen at another place in a pose."""
        p, q = self._own(x, y)
        return (p > 0) & (p < 1) & (np.abs(q) < self._skin + self._height)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what moves."""
        reach = self._skin + self._height
        p = np.array([0, 0, 1, 1], np.float32)
        x, y = self._place(p, np.array([-reach, reach, -reach, reach], np.float32))
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def seen(self, fine: FinePicture, x: Floats, y: Floats, pose: Pose) -> Floats:
        """Returns the colours seen at some points of the picture in a pose, [points, 3].

        Args:
            fine: of the picture, around the eye.
            x: in pixels, [points].
            y: likewise.
            pose: of which lids and gaze count.
        """
        seen = np.zeros((len(x), 3), np.float32)
        for layer in self._layers(x, y, pose):
            found = fine.look_up(*fine.places(layer.x, layer.y))
            seen += layer.cover[:, None] * (colors(found) - seen)
        return np.rint(seen)

    def _layers(self, x: Floats, y: Floats, pose: Pose) -> Iterator[Layer]:
        """Yields what is seen at some points of the picture in a pose, from below to above.

        Args:
            x: in pixels, [points].
            y: likewise.
            pose: of which lids and gaze count.
        """
        p, q = self._own(x, y)
        top, opening = self._opening(p)
        bottom = top + opening
        looks_down = FOLLOWS * max(0.0, pose.gaze[1]) * self._radius / self._height
        closed = np.float32(max(pose.closure, min(1.0, looks_down))) * opening
        yield Layer(*self._place(*self._eyeball(p, q, top, opening, pose.gaze)), np.ones_like(p))
        moved = (1 - UPPER_PART) * closed
        yield self._lid(p, q - bottom, bottom, moved, 1)
        moved = UPPER_PART * closed
        yield self._lid(p, top - q, top, moved, -1)

    def _lid(self, p: Floats, beyond: Floats, rest: Floats, moved: Floats, side: int) -> Layer:
        """Returns a lid whose edge has moved over the eye.

        Args:
            p: along the eye.
            beyond: how far points are from where the edge rests, away from the eye.
            rest: where that is.
            moved: how far the edge has moved.
            side: 1 for the lid below the eye, -1 for that above it.
        """
        # Skin goes on without a bend where nothing moves, and lashes move as they are.
        place, skin = self._skin - beyond, self._skin - sum(LASHES)
        length = skin + moved
        part, stretch = (place / length).clip(0, 1), length / skin
        drawn = skin * part * (stretch + (1 - stretch) * part)
        drawn += place.clip(max=0) + (place - length).clip(min=0)
        cover = ((beyond + moved) * self._length + 0.5).clip(0, 1)
        return Layer(*self._place(p, rest + side * (self._skin - drawn)), cover)

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
        top, opening = self._opening(p)
        return p, top + part * opening - gaze[1] * self._radius * near * 4 * part * (1 - part)

    def _opening(self, p: Floats) -> tuple[Floats, Floats]:
        """Returns where the upper lid's edge is, and how far below it the lower one's."""
        at = (p.clip(0, 1) * POINTS).astype(np.int32)
        return self._top[at], self._open[at]

    def _curve(self, lid: Floats) -> Floats:
        """Returns where a lid's edge is at each of the points along it."""
        curve = np.polyfit(*self._own(lid[:, 0], lid[:, 1]), SMOOTH)
        return np.polyval(curve, np.linspace(0, 1, POINTS + 1)).astype(np.float32)

    def _own(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Returns points of the picture in axes of the eye, in lengths of it."""
        (a, b), (c, d) = self._axes / self._length
        x, y = x - self._corner[0], y - self._corner[1]
        return a * x + b * y, c * x + d * y

    def _place(self, p: Floats, q: Floats) -> tuple[Floats, Floats]:
        (a, b), (c, d) = self._axes * self._length
        return self._corner[0] + a * p + c * q, self._corner[1] + b * p + d * q
