"""A picture of a face, moved: head, lids and irises, and no network is run.

where a pixel is shown -> where it was before the head moved -> where it was in the eye -> pixel

What does not depend on the pose is computed once, so that a picture takes little longer than its
encoding. At rest it is the picture itself.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from server.animation.eye_warp import EyeWarp, can_move
from server.animation.idle_motion import HEAD_X, HEAD_Y, ROLL, TURN, Pose
from server.pictures.fine import GROUP, FinePicture, Floats, colors, fill, words
from server.pictures.mesh import FaceMesh
from server.pictures.portrait import Picture

HEAD = (0.6, 0.7)
"""Half the axes of the ellipse that moves as a whole, in widths and heights of the face."""
RAISED = 0.12
"""How far its middle is above that of the face, in heights of the face."""
REACH = 1.4
"""At how many times its axes nothing moves any more."""
BLOCK = 2
"""Pixels across and down that move as one. Where a face moves most its parts move apart by a tenth
of a pixel for each one, so that at the borders of blocks it is off by a tenth at most."""
STRETCH = 0.1
"""By how much less or more one place moves than another, in what is between them, at most."""
STRIP = 64
"""Rows that are drawn at a time: as many as stay in a core's cache."""


@dataclass(frozen=True, slots=True)
class _Head:
    """The ellipse that moves, and the width of the face in it, in pixels."""

    x: float
    y: float
    across: float
    down: float
    face: float

    @property
    def margin(self) -> int:
        """How far a pixel moves at most."""
        far = max(HEAD_X, HEAD_Y) + max(TURN)
        return math.ceil(self.face * far + ROLL * REACH * max(self.across, self.down)) + 1

    def part(self, shape: tuple[int, ...]) -> tuple[slice, slice]:
        """Returns the rows and columns of a picture in which something moves."""
        rows, columns = (
            slice(max(0, math.floor(at - REACH * half)), min(size, math.ceil(at + REACH * half)))
            for at, half, size in zip(
                (self.y, self.x), (self.down, self.across), shape, strict=False
            )
        )
        return rows, columns


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the picture, in square blocks, with what of them does not depend on the pose.

    Attributes:
        rows: of the picture.
        columns: likewise.
        places: [6, blocks down, blocks across]: by how many fine pixels a block moves for each
            pixel that the head moves, the same times its middle's x and y from that of the head,
            by how many it moves for each that the middle of the face does, and the x and y at which
            it begins in the fine picture.
    """

    rows: slice
    columns: slice
    places: Floats

    def before(self, pose: Pose, face: float) -> Floats:
        """Returns where blocks began in the fine picture before a face of some width moved.

        They are x and y, [2, blocks down, blocks across].
        """
        (x, y), (turn_x, turn_y) = (
            [face * share for share in shares] for shares in (pose.shift, pose.turn)
        )
        weights = np.array(
            [[-x, 0, pose.roll, -turn_x, 1, 0], [-y, -pose.roll, 0, -turn_y, 0, 1]], np.float32
        )
        before = weights @ self.places.reshape(6, -1)
        return before.reshape(2, *self.places.shape[1:])

    def within(self, rows: slice, columns: slice) -> "_Part":
        """Returns a smaller part; for blocks of one pixel."""
        top, left = self.rows.start, self.columns.start
        down = slice(rows.start - top, rows.stop - top)
        across = slice(columns.start - left, columns.stop - left)
        return _Part(rows, columns, self.places[:, down, across])


class _Around(NamedTuple):
    """The part in which an eye is, wherever the head moves, and the middle of the eye."""

    part: _Part
    middle: _Part


class FaceWarp:
    """Draws a portrait in any pose."""

    def __init__(self, picture: Picture, mesh: FaceMesh) -> None:
        """Measures the face.

        Args:
            picture: uint8 [height, width, 3], whose width is a multiple of 4, and height of 2.
            mesh: of the face in it.
        """
        self._head = _head(mesh)
        self._canvas = picture.copy()
        self._words = words(self._canvas)
        self._fine = FinePicture(picture, self._head.part(picture.shape), self._head.margin)
        self._strips = list(self._in_strips())
        self.moves_eyes = can_move(mesh)
        """Whether lids and irises are moved; those of drawn faces with large eyes are not."""
        eyes = map(EyeWarp, mesh.eyes) if self.moves_eyes else ()
        self._eyes = [(eye, self._around(eye)) for eye in eyes]

    def draw(self, pose: Pose) -> Picture:
        """Returns the picture in a pose; not to be called by two threads at once."""
        for strip in self._strips:
            self._draw_strip(strip, pose)
        if pose.closure or pose.gaze != (0, 0):
            for eye, around in self._eyes:
                self._draw_eye(eye, around, pose)
        return self._canvas.copy()

    def _draw_strip(self, strip: _Part, pose: Pose) -> None:
        addresses = self._fine.addresses(*strip.before(pose, self._head.face))
        left, right = (np.ascontiguousarray(addresses[:, first::2]) for first in range(BLOCK))
        first, end = (at * 3 // GROUP for at in (strip.columns.start, strip.columns.stop))
        for down in range(BLOCK):
            rows = slice(strip.rows.start + down, strip.rows.stop, BLOCK)
            pixels = (self._fine.at(block, to, down) for block in (left, right) for to in (0, 1))
            fill(self._words[rows, first:end], *pixels)

    def _draw_eye(self, eye: EyeWarp, around: _Around, pose: Pose) -> None:
        part = self._shown(eye, around, pose)
        x, y = (places.ravel() for places in part.before(pose, self._head.face))
        at, pixels = eye.drawn(self._fine, x, y, pose)
        row, column = np.divmod(at, part.columns.stop - part.columns.start)
        self._canvas[part.rows.start + row, part.columns.start + column] = colors(pixels)

    def _shown(self, eye: EyeWarp, around: _Around, pose: Pose) -> _Part:
        """Returns the part of what is around an eye in which it is to be seen in a pose."""
        left, top, right, bottom = eye.box(pose)
        part, middle = around
        moved = middle.before(Pose(), self._head.face) - middle.before(pose, self._head.face)
        across, down = (moved.ravel() / self._fine.factor).tolist()
        beyond = STRETCH * max(right - left, bottom - top) / 2 + 2
        return part.within(
            _between(top + down - beyond, bottom + down + beyond, part.rows),
            _between(left + across - beyond, right + across + beyond, part.columns),
        )

    def _in_strips(self) -> Iterator[_Part]:
        """Yields all that moves, some rows at a time."""
        rows, columns = self._head.part(self._canvas.shape)
        first, end = rows.start // BLOCK * BLOCK, -(-rows.stop // BLOCK) * BLOCK
        for top in range(first, end, STRIP):
            strip = slice(top, min(top + STRIP, end))
            moving = np.flatnonzero(self._part(strip, columns, 1).places[0].any(axis=0))
            if len(moving):
                left, right = columns.start + int(moving[0]), columns.start + int(moving[-1]) + 1
                whole = slice(left // GROUP * GROUP, -(-right // GROUP) * GROUP)
                yield self._part(strip, whole, BLOCK)

    def _around(self, eye: EyeWarp) -> _Around:
        left, top, right, bottom = eye.box(Pose(closure=1))
        margin, (rows, columns) = self._head.margin, self._head.part(self._canvas.shape)
        part = self._part(
            _between(top - margin, bottom + margin, rows),
            _between(left - margin, right + margin, columns),
            1,
        )
        x, y = round((left + right) / 2), round((top + bottom) / 2)
        return _Around(part, self._part(slice(y, y + 1), slice(x, x + 1), 1))

    def _part(self, rows: slice, columns: slice, block: int) -> _Part:
        head, factor = self._head, self._fine.factor
        x = np.arange(columns.start, columns.stop, block, dtype=np.float32)[None]
        y = np.arange(rows.start, rows.stop, block, dtype=np.float32)[:, None]
        fine_x, fine_y = self._fine.places(x, y)
        middle = (block - 1) / 2
        x, y = x + np.float32(middle - head.x), y + np.float32(middle - head.y)
        radius = np.hypot(x / np.float32(head.across), y / np.float32(head.down))
        near = ((REACH - radius) / (REACH - 1)).clip(0, 1)
        moves = factor * near * near * (3 - 2 * near)
        turns = factor * np.square((1 - np.square(radius)).clip(min=0))
        places = (moves, x * moves, y * moves, turns, fine_x, fine_y)
        return _Part(rows, columns, np.stack(np.broadcast_arrays(*places)))


def _between(low: float, high: float, side: slice) -> slice:
    """Returns the pixels from one place to another, as far as they are in a side."""
    first = min(side.stop, max(side.start, math.floor(low)))
    return slice(first, max(first, min(side.stop, math.ceil(high))))


def _head(mesh: FaceMesh) -> _Head:
    left, top, right, bottom = mesh.box
    width, height = right - left, bottom - top
    middle = (top + bottom) / 2 - RAISED * height
    return _Head((left + right) / 2, middle, HEAD[0] * width, HEAD[1] * height, width)
