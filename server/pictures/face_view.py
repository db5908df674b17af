"""A face as checks look at it: upright, of one size, with what of it is skin."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from server.arrays import FloatArray
from server.pictures.mesh import FaceMesh
from server.pictures.patch import Patch

SIDE_PX = 256
MARGIN = 1.15
EYE_MARGIN, WITHOUT_RIM = 1.5, 0.8
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601: how bright red, green and blue are seen."""
OUTER_CORNERS = [33, 263]
OVAL = [
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
]
LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]
FOREHEAD, CHIN, LEFT_CHEEK, RIGHT_CHEEK = 10, 152, 234, 454
INNER_LIPS, MOUTH_CORNERS = (13, 14), (78, 308)
"""Points of MediaPipe's canonical face."""
USUAL_PITCH = 6.0
"""Degrees that the mesh of a frontal face leans by."""


@dataclass(frozen=True)
class FaceView:
    """A face in a portrait.

    Attributes:
        image: the portrait, RGB.
        mesh: the face.
    """

    image: Image.Image
    mesh: FaceMesh

    @property
    def roll_degrees(self) -> float:
        """How far the head is tilted, clockwise as it is seen."""
        (x0, y0), (x1, y1) = self.mesh.points[OUTER_CORNERS, :2].tolist()
        return math.degrees(math.atan2(y1 - y0, x1 - x0))

    @property
    def turn_degrees(self) -> float:
        """How far the head is turned away, to a side, up or down."""
        points = self._upright(self.mesh.points[:, :2])
        depths = self.mesh.points[:, 2]
        across = points[RIGHT_CHEEK, 0] - points[LEFT_CHEEK, 0]
        down = points[CHIN, 1] - points[FOREHEAD, 1]
        yaw = math.degrees(math.atan2(depths[RIGHT_CHEEK] - depths[LEFT_CHEEK], across))
        pitch = math.degrees(math.atan2(depths[CHIN] - depths[FOREHEAD], down))
        return math.hypot(yaw, pitch - USUAL_PITCH)

    @property
    def mouth_openness(self) -> float:
        """How far the lips are apart, in widths of the mouth."""
        points = self.mesh.points[:, :2]
        upper, lower = points[list(INNER_LIPS)]
        left, right = points[list(MOUTH_CORNERS)]
        return float(np.linalg.norm(lower - upper) / max(np.linalg.norm(right - left), 1e-6))

    @cached_property
    def luma(self) -> FloatArray:
        """How bright it is, 0 to 255, [SIDE_PX, SIDE_PX]."""
        return self._patch.seen(self.image, SIDE_PX).astype(np.float32) @ LUMA

    @cached_property
    def face(self) -> NDArray[np.bool_]:
        """Where the face is in the view, as far as that is in the portrait."""
        return self._mask(Image.new("L", (SIDE_PX, SIDE_PX)))

    @cached_property
    def skin(self) -> NDArray[np.bool_]:
        """Where the face is, without eyes and lips."""
        mask = Image.fromarray(self.face.astype(np.uint8))
        draw = ImageDraw.Draw(mask)
        draw.polygon(_corners(self._seen_at(self.mesh.points[LIPS, :2])), fill=0)
        for eye in self.mesh.eyes:
            lids = self._seen_at(np.concatenate([eye.upper_lid, eye.lower_lid[::-1]]))
            middle = lids.mean(axis=0)
            draw.polygon(_corners(middle + (lids - middle) * EYE_MARGIN), fill=0)
        return np.asarray(mask) > 0

    @cached_property
    def halves(self) -> tuple[FloatArray, FloatArray]:
        """How bright the skin is left and right of the nose, pixel by pixel."""
        middle = float(self._seen_at(self.mesh.points[[FOREHEAD, CHIN], :2])[:, 0].mean())
        left = np.arange(SIDE_PX) < middle
        return self.luma[self.skin & left], self.luma[self.skin & ~left]

    def irises(self) -> list[FloatArray]:
        """Returns how bright each iris is, pixel by pixel, without its rim."""
        scale = SIDE_PX / self._patch.side
        rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX] + 0.5
        found: list[FloatArray] = []
        for eye in self.mesh.eyes:
            x, y = self._seen_at(eye.iris[None])[0]
            inside = np.hypot(columns - x, rows - y) < max(
                1.0, WITHOUT_RIM * eye.iris_radius * scale
            )
            found.append(self.luma[inside])
        return found

    @cached_property
    def _patch(self) -> Patch:
        upright = self._upright(self.mesh.points[:, :2])
        low, high = upright.min(axis=0), upright.max(axis=0)
        x, y = (self._turn @ ((low + high) / 2)).tolist()
        side = MARGIN * float((high - low).max())
        return Patch(x, y, side, math.radians(self.roll_degrees))

    @property
    def _turn(self) -> NDArray[np.float64]:
        angle = math.radians(self.roll_degrees)
        return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    def _upright(self, points: FloatArray) -> NDArray[np.float64]:
        return points @ self._turn

    def _seen_at(self, points: FloatArray) -> NDArray[np.float64]:
        """Returns where points of the portrait are in the view."""
        middle = np.array([self._patch.x, self._patch.y])
        return self._upright(points - middle) * (SIDE_PX / self._patch.side) + SIDE_PX / 2

    def _mask(self, mask: Image.Image) -> NDArray[np.bool_]:
        ImageDraw.Draw(mask).polygon(_corners(self._seen_at(self.mesh.points[OVAL, :2])), fill=1)
        white = self._patch.seen(Image.new("RGB", self.image.size, "white"), SIDE_PX)
        return (np.asarray(mask) > 0) & (white[..., 0] == 255)


def _corners(points: NDArray[np.float64]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points]
