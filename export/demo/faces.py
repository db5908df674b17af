"""Drawn faces whose geometry is known: everything but the mouth once, the mouth for each frame.

Lengths are in pixels of the demo's size, 128 x 128, whatever size is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.demo import head
from export.demo.head import SIDE, Color, Head, random_head

Pictures = NDArray[np.uint8]
FloatArray = NDArray[np.float32]

MAX_OPENING_PX = 14.0
NARROW_PX, WIDE_PX = 8.0, 12.5
"""Half the width of a mouth, at width 0 and 1."""
LIP_PX = 2.6
RAISED = 0.25
"""The share of an opening by which the upper lip rises; the lower lip falls by the rest."""
TEETH = 0.3
"""The share of an opening that the teeth cover."""
INTERIOR: Color = (38, 8, 14)
TEETH_COLOR: Color = (246, 242, 232)
MARGIN_PX = 4.0


@dataclass(frozen=True)
class Face:
    """One person. ``head`` is all that keeps still; ``lips`` the colour of the lips."""

    head: Head
    lips: Color

    @cached_property
    def still(self) -> Pictures:
        """The face without its mouth, [SIDE, SIDE, 3]."""
        return head.draw(self.head, SIDE)

    @property
    def mouth_box(self) -> tuple[slice, slice]:
        """Rows and columns that some mouth reaches, and a margin."""
        x, y, scale = self.head.mouth_x, self.head.mouth_y, self.head.scale
        across = (WIDE_PX + MARGIN_PX) * scale
        above = (RAISED * MAX_OPENING_PX + LIP_PX + MARGIN_PX) * scale
        below = ((1 - RAISED) * MAX_OPENING_PX + LIP_PX + MARGIN_PX) * scale
        return (
            slice(round(y - above), round(y + below) + 1),
            slice(round(x - across), round(x + across) + 1),
        )

    def draw(self, openings: Sequence[float], widths: Sequence[float]) -> Pictures:
        """Draws a film.

        Args:
            openings: of the mouth in each frame, 0 closed to 1 wide open.
            widths: of the mouth in each frame, 0 narrow to 1 wide.

        Returns:
            [frames, SIDE, SIDE, 3].
        """
        frames = np.repeat(self.still[None], len(openings), axis=0)
        rows, columns = self.mouth_box
        frames[:, rows, columns] = self.mouths(openings, widths)
        return frames

    def mouths(self, openings: Sequence[float], widths: Sequence[float]) -> Pictures:
        """Draws what is in the mouth box, [frames, rows, columns, 3]."""
        rows, columns = self.mouth_box
        return self._on(self.still[rows, columns], rows, columns, openings, widths, SIDE)

    def portrait(self, side: int) -> Image.Image:
        """Draws the face with its mouth closed, at any size."""
        still = head.draw(self.head, side)
        everywhere = slice(0, side)
        return Image.fromarray(self._on(still, everywhere, everywhere, [0.0], [0.5], side)[0])

    def _on(
        self,
        below: Pictures,
        rows: slice,
        columns: slice,
        openings: Sequence[float],
        widths: Sequence[float],
        side: int,
    ) -> Pictures:
        unit = self.head.scale * side / SIDE
        y = (np.arange(rows.start, rows.stop) + 0.5) / unit - self.head.mouth_y / self.head.scale
        x = (np.arange(columns.start, columns.stop) + 0.5) / unit
        x = x - self.head.mouth_x / self.head.scale
        layers = _mouth(np.asarray(openings), np.asarray(widths), x, y, unit)
        picture = np.repeat(below[None].astype(np.float32), len(openings), axis=0)
        for coverage, color in zip(layers, (self.lips, INTERIOR, TEETH_COLOR), strict=True):
            picture += coverage[..., None] * (np.array(color, np.float32) - picture)
        return np.rint(picture).astype(np.uint8)


def random_face(random: np.random.Generator) -> Face:
    """Draws a person out of a wide variety."""
    drawn = random_head(random)
    return Face(drawn, _lips(drawn.skin, random))


def _lips(skin: Color, random: np.random.Generator) -> Color:
    """Picks a red that stands out: darker than light skin, lighter than dark skin."""
    dark = sum(skin) / 3 < 110
    red = (214, 92, 96) if dark else (178, 48, 58)
    return head.jitter(red, random, 16)


def _mouth(
    openings: NDArray[np.floating],
    widths: NDArray[np.floating],
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    unit: float,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Returns how much of each pixel lips, interior and teeth cover, [frames, rows, columns].

    The mouth lies between two arcs that meet in its corners; positions are relative to its centre
    and ``unit`` is how many drawn pixels one of theirs is.
    """
    height = (openings * MAX_OPENING_PX)[:, None, None]
    half_width = (NARROW_PX + widths * (WIDE_PX - NARROW_PX))[:, None, None]
    x, y = x[None, None, :], y[None, :, None]
    arc = np.sqrt(np.clip(1 - np.square(x / half_width), 0, 1))
    lip_arc = np.sqrt(np.clip(1 - np.square(x / (half_width + LIP_PX / 2)), 0, 1))
    top, bottom = -RAISED * height * arc, (1 - RAISED) * height * arc
    teeth = np.minimum(bottom, top + TEETH * height)

    def between(upper: NDArray[np.floating], lower: NDArray[np.floating]) -> FloatArray:
        inside = np.minimum(y - upper, lower - y) * unit
        return np.clip(inside + 0.5, 0, 1).astype(np.float32)

    lips = between(top - LIP_PX * lip_arc, bottom + LIP_PX * lip_arc) * (lip_arc > 0)
    interior = between(top, bottom) * (arc > 0)
    shown = np.clip(height / 3 - 1, 0, 1) * (arc > 0.5)
    return lips, interior, (between(top + 0.5, teeth) * shown).astype(np.float32)
