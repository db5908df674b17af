"""A picture of a face, moved: head, lids and irises, and no network is run.

where a pixel is shown -> where it was before the head moved -> where it was in the eye -> pixel

What does not depend on the pose is computed once, so that a picture takes little longer than its
encoding. At rest it is the picture itself.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from server.animation.eye_warp import EyeWarp, can_move
from server.animation.idle_motion import HEAD_X, HEAD_Y, ROLL, TURN, Pose
from server.pictures.fine import GROUP, FinePicture, Floats, fill, words
from server.pictures.mesh import FaceMesh
from server.pictures.portrait import Picture

HEAD = (0.6, 0.7)
"""Half the axes of the ellipse that moves as a whole, in widths and heights of the face."""
RAISED = 0.12
"""How far its middle is above that of the face, in heights of the face."""
REACH = 1.4
"""At how many times its axes nothing moves any more."""
STRIP = 32
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
    """A part of the picture, with what of its pixels does not depend on the pose.

    Attributes:
        rows: of the picture.
        columns: likewise.
        x: of its columns from the middle of the head, in pixels, [1, columns].
        y: of its rows, likewise, [rows, 1].
        fine_x: of its columns in the fine picture, [1, columns].
        fine_y: of its rows, [rows, 1].
        moves: by how many fine pixels a pixel moves for each that the head moves, [rows, columns].
        turns: likewise for each that the middle of the face moves.
    """

    rows: slice
    columns: slice
    x: Floats
    y: Floats
    fine_x: Floats
    fine_y: Floats
    moves: Floats
    turns: Floats

    def before(self, pose: Pose, face: float) -> tuple[Floats, Floats]:
        """Returns where its pixels were in the fine picture before a face of some width moved."""
        (x, y), (turn_x, turn_y) = (
            [np.float32(face * share) for share in shares] for shares in (pose.shift, pose.turn)
        )
        roll = np.float32(pose.roll)
        before_x = (roll * self.y - x) * self.moves
        before_x -= turn_x * self.turns
        before_x += self.fine_x
        before_y = (-roll * self.x - y) * self.moves
        before_y -= turn_y * self.turns
        before_y += self.fine_y
        return before_x, before_y


class FaceWarp:
    """Draws a portrait in any pose."""

    def __init__(self, picture: Picture, mesh: FaceMesh) -> None:
        """Measures the face.

        Args:
            picture: uint8 [height, width, 3], whose width is a multiple of 4.
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
            found = self._fine.look_up(*strip.before(pose, self._head.face))
            first, end = (at * 3 // GROUP for at in (strip.columns.start, strip.columns.stop))
            fill(self._words[strip.rows, first:end], found)
        if pose.closure or pose.gaze != (0, 0):
            for eye, part in self._eyes:
                self._draw_eye(eye, part, pose)
        return self._canvas.copy()

    def _draw_eye(self, eye: EyeWarp, part: _Part, pose: Pose) -> None:
        x, y = self._fine.in_picture(*part.before(pose, self._head.face))
        moves = eye.moves(x, y)
        seen = eye.seen(self._fine, x[moves], y[moves], pose)
        self._canvas[part.rows, part.columns][moves] = seen

    def _in_strips(self) -> Iterator[_Part]:
        """Yields all that moves, some rows at a time."""
        rows, columns = self._head.part(self._canvas.shape)
        for top in range(rows.start, rows.stop, STRIP):
            strip = slice(top, min(top + STRIP, rows.stop))
            moving = np.flatnonzero(self._part(strip, columns).moves.any(axis=0))
            if len(moving):
                first, end = columns.start + int(moving[0]), columns.start + int(moving[-1]) + 1
                whole = slice(first // GROUP * GROUP, -(-end // GROUP) * GROUP)
                yield self._part(strip, whole)

    def _around(self, eye: EyeWarp) -> _Part:
        """Returns the part in which an eye is, wherever the head moves."""
        left, top, right, bottom = eye.box
        margin, (rows, columns) = self._head.margin, self._head.part(self._canvas.shape)
        return self._part(
            *(
                slice(
                    max(side.start, math.floor(low) - margin),
                    min(side.stop, math.ceil(high) + margin),
                )
                for side, low, high in ((rows, top, bottom), (columns, left, right))
            )
        )

    def _part(self, rows: slice, columns: slice) -> _Part:
        head, factor = self._head, self._fine.factor
        x = np.arange(columns.start, columns.stop, dtype=np.float32)[None]
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
        fine_x, fine_y = self._fine.places(x, y)
        x, y = x - np.float32(head.x), y - np.float32(head.y)
        radius = np.hypot(x / np.float32(head.across), y / np.float32(head.down))
        near = ((REACH - radius) / (REACH - 1)).clip(0, 1)
        moves = factor * near * near * (3 - 2 * near)
        turns = factor * np.square((1 - np.square(radius)).clip(min=0))
        return _Part(rows, columns, x, y, fine_x, fine_y, moves, turns)


def _head(mesh: FaceMesh) -> _Head:
    left, top, right, bottom = mesh.box
    width, height = right - left, bottom - top
    middle = (top + bottom) / 2 - RAISED * height
    return _Head((left + right) / 2, middle, HEAD[0] * width, HEAD[1] * height, width)
