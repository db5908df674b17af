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
Pixels = NDArray[np.uint32]
"""[...]: each pixel as one number, red in its lowest byte, since NumPy looks numbers up fast."""
Addresses = NDArray[np.intp]
Words = NDArray[np.uint32]
"""[height, 3/4 width]: the bytes of a picture whose width is a multiple of `GROUP`."""

GROUP = 4
"""Pixels that fill whole words."""

MAX_FACTOR, MAX_PIXELS = 8, 5_000_000
"""How many times its size the part gets at most, and how large."""
_SUPPORT = 2
"""Pixels on each side that bicubic interpolation looks at."""
_NEAREST = np.float32(0.5)
"""Added before places are truncated."""


class FinePicture:
    """Knows the pixels at any places of a part of a picture."""

    def __init__(
        self,
        picture: Picture,
        part: tuple[slice, slice],
        margin: int,
        max_factor: int = MAX_FACTOR,
    ) -> None:
        """Enlarges the part.

        Args:
            picture: uint8 [height, width, 3].
            part: rows and columns.
            margin: in pixels around it that places may lie in; beyond the picture is its border.
            max_factor: how many times its size it gets at most.
        """
        beyond = margin + _SUPPORT
        rows, columns = (
            np.clip(np.arange(int(side.start) - beyond, int(side.stop) + beyond + 1), 0, size - 1)
            for side, size in zip(part, picture.shape, strict=False)
        )
        around = picture[rows[:, None], columns]
        (top, bottom), (left, right) = ((side.start, side.stop + 2 * margin) for side in part)
        height, width = bottom - top, right - left
        self.factor = math.isqrt(MAX_PIXELS // (width * height))
        self.factor = min(max_factor, max(1, self.factor))
        # So that every `factor`th pixel is one of the picture, as it is.
        first = _SUPPORT + (1 - 1 / self.factor) / 2
        fine = Image.fromarray(around).resize(
            (self.factor * width, self.factor * height),
            Image.Resampling.BICUBIC,
            box=(first, first, width + first, height + first),
        )
        self._left, self._top = left - margin, top - margin
        self._width = width
        self._pixels = _by_phase(_pixels(np.asarray(fine)), self.factor)
        self._row, self._column = (
            _addresses(self.factor, size, step)
            for size, step in (
                (height, (self.factor * height * width, width)),
                (width, (height * width, 1)),
            )
        )

    def places(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Returns the places here of some places in the picture, x and y in pixels of any shape."""
        return (
            (x - self._left) * self.factor + _NEAREST,
            (y - self._top) * self.factor + _NEAREST,
        )

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Returns the place here of one in the picture."""
        return (x - self._left) * self.factor + 0.5, (y - self._top) * self.factor + 0.5

    def addresses(self, x: Floats, y: Floats) -> Addresses:
        """Returns which pixels are at some places here, of the shape of both."""
        row = self._row.take(y.astype(np.intp), mode="clip")
        row += self._column.take(x.astype(np.intp), mode="clip")
        return row

    def at(self, addresses: Addresses, right: int = 0, down: int = 0) -> Pixels:
        """Returns pixels, or those that are some of the picture's pixels from them."""
        return self._pixels[down * self._width + right :].take(addresses, mode="clip")

    def look_up(self, x: Floats, y: Floats) -> Pixels:
        """Returns the pixels at some places here, of the shape of both."""
        return self.at(self.addresses(x, y))


def colors(pixels: Pixels) -> Picture:
    """Returns pixels [...] as colours [..., 3]; a view."""
    return pixels.view(np.uint8).reshape(*pixels.shape, 4)[..., :3]


def words(picture: Picture) -> Words:
    """Returns the bytes of a picture [height, width, 3]; a view."""
    return picture.reshape(len(picture), -1).view(np.uint32)


def fill(words: Words, first: Pixels, second: Pixels, third: Pixels, fourth: Pixels) -> None:
    """Writes groups of four pixels, [height, width / 4] each, into the words of a picture.

    Copying bytes by themselves would take NumPy several times as long.
    """
    words[:, 0::3] = first | second << 24
    words[:, 1::3] = second >> 8 | third << 16
    words[:, 2::3] = third >> 16 | fourth << 8


def laid(below: Pixels, above: Pixels, cover: Floats) -> Pixels:
    """Returns pixels [n] over others, which they cover by a part of more than 0, to 1."""
    edge = np.flatnonzero(cover < 1)
    under, over = colors(below[edge]).astype(np.float32), colors(above[edge])
    seen = above.copy()
    colors(seen)[edge] = np.rint(under + cover[edge, None] * (over - under))
    return seen


def _pixels(picture: Picture) -> Pixels:
    bytes_of = np.zeros((*picture.shape[:2], 4), np.uint8)
    bytes_of[..., :3] = picture
    return bytes_of.view(np.uint32)[..., 0]


def _by_phase(fine: Pixels, factor: int) -> Pixels:
    """Returns pixels one after the other that are the picture's, shifted by one part of a pixel.

    So what is next to each other in a picture that has moved is so in memory, too.
    """
    height, width = (side // factor for side in fine.shape)
    phases = fine.reshape(height, factor, width, factor).transpose(1, 3, 0, 2)
    return np.ascontiguousarray(phases).ravel()


def _addresses(factor: int, size: int, step: tuple[int, int]) -> Addresses:
    """Returns what each place on a side adds to a pixel's address.

    Args:
        factor: places in a pixel.
        size: pixels.
        step: from one phase to the next, and from one pixel to the next.
    """
    pixel, phase = np.divmod(np.arange(factor * size), factor)
    return (phase * step[0] + pixel * step[1]).astype(np.intp)
