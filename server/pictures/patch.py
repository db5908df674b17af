"""Squares of a picture, turned and resized to what a network of faces sees."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Patch:
    """A square in a picture, in pixels of the picture; it may reach beyond its border.

    Attributes:
        x: of its centre.
        y: of its centre.
        side: how long its sides are.
        angle: by which it is turned, in radians, clockwise as it is seen.
        mirrored: whether it is seen in a mirror, left and right exchanged.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0
    mirrored: bool = False

    def seen(self, image: Image.Image, side_px: int) -> NDArray[np.uint8]:
        """Returns what is in the square, black beyond the picture: [side_px, side_px, 3]."""
        left, top, right, bottom = self._bounds(image.size)
        black = np.zeros((side_px, side_px, 3), np.uint8)
        if left >= right or top >= bottom:
            return black
        # Averaged first, since what follows looks at the nearest four pixels alone.
        factor = max(1, int(self.side / side_px))
        near = image.reduce(factor, (left, top, right, bottom))
        (a, b), (d, e) = self._turn(side_px) / factor
        x, y = self.x - left, self.y - top
        c, f = x / factor - (a + b) * side_px / 2, y / factor - (d + e) * side_px / 2
        seen = near.transform(
            (side_px, side_px),
            Image.Transform.AFFINE,
            (a, b, c, d, e, f),
            Image.Resampling.BILINEAR,
        )
        return np.asarray(seen)

    def to_picture(self, points: FloatArray, side_px: int) -> FloatArray:
        """Returns where points of the square lie in the picture.

        Args:
            points: [..., 2] or [..., 3] in pixels of what `seen` returned, the third into it.
            side_px: how many pixels its sides have.
        """
        turn = self._turn(side_px)
        placed = np.array(points, np.float32)
        placed[..., :2] = (points[..., :2] - side_px / 2) @ turn.T + (self.x, self.y)
        placed[..., 2:] *= self.side / side_px
        return placed

    def _turn(self, side_px: int) -> NDArray[np.float64]:
        """Returns the matrix that steps of pixels in the square are steps in the picture by."""
        scale = self.side / side_px
        cos, sin = scale * math.cos(self.angle), scale * math.sin(self.angle)
        across = -1 if self.mirrored else 1
        return np.array([[across * cos, -sin], [across * sin, cos]])

    def _bounds(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Returns the part of a picture in which the square lies."""
        reach = self.side / 2 * (abs(math.cos(self.angle)) + abs(math.sin(self.angle))) + 1
        width, height = size
        return (
            max(0, math.floor(self.x - reach)),
            max(0, math.floor(self.y - reach)),
            min(width, math.ceil(self.x + reach)),
            min(height, math.ceil(self.y + reach)),
        )
