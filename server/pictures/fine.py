"""A part of a picture at several times its size, where what lies between its pixels is looked up.

The nearest pixel there is a small part of a pixel away, and as sharp as any other. The four around
a place, blended, are the softer the farther they are, so that what moves slowly would shimmer.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.pictures.portrait import Picture

Floats = NDArray[np.floating[Any]]
"""In 32 bits: what NumPy makes of such and of numbers, whatever its annotations say."""
Pixels = NDArray[np.void]
"""[height, width]: each pixel as one item, since NumPy looks up whole items fast."""

MAX_FACTOR, MAX_PIXELS = 8, 5_000_000
"""How many times its size the part gets at most, and how large."""
_NEAREST = np.float32(0.5)
"""Added before places are truncated."""


class FinePicture:
    """Knows the pixels at any places of a part of a picture."""

    def __init__(self, picture: Picture, part: tuple[slice, slice], margin: int) -> None:
        """Enlarges the part.

        Args:
            picture: uint8 [height, width, 3].
            part: rows and columns.
            margin: in pixels around it that places may lie in; beyond the picture is its border.
        """
        margins = (margin, margin + 1)
        around = np.pad(picture, (margins, margins, (0, 0)), mode="edge")
        (top, bottom), (left, right) = ((side.start, side.stop + 2 * margin) for side in part)
        width, height = right - left, bottom - top
        self.factor = math.isqrt(MAX_PIXELS // (width * height))
        self.factor = min(MAX_FACTOR, max(1, self.factor))
        # So that every `factor`th pixel is one of the picture, as it is.
        first = (1 - 1 / self.factor) / 2
        fine = Image.fromarray(around).resize(
            (self.factor * width, self.factor * height),
            Image.Resampling.BICUBIC,
            box=(left + first, top + first, right + first, bottom + first),
        )
        self._left, self._top = left - margin, top - margin
        self._width = fine.width
        self._pixels = pixels(np.asarray(fine)).ravel()

    def places(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Returns the places here of some places in the picture, x and y in pixels of any shape."""
        return (
            (x - self._left) * self.factor + _NEAREST,
            (y - self._top) * self.factor + _NEAREST,
        )

    def in_picture(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Returns the places in the picture of some places here."""
        return (
            (x - _NEAREST) / self.factor + self._left,
            (y - _NEAREST) / self.factor + self._top,
        )

    def look_up(self, x: Floats, y: Floats) -> Pixels:
        """Returns the pixels at some places here, of the shape of both."""
        at = y.astype(np.int32)
        at *= self._width
        at += x.astype(np.int32)
        return self._pixels.take(at.astype(np.intp), mode="clip")


def pixels(picture: Picture) -> Pixels:
    """Returns a picture, or any colours [..., 3], as pixels [...]; a view."""
    return picture.view("V3")[..., 0]


def colors(pixels: Pixels) -> Picture:
    """Returns pixels [...] as colours [..., 3]; a view."""
    return pixels.view(np.uint8).reshape(*pixels.shape, 3)
