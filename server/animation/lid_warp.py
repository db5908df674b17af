"""A picture of a face, of which only the lids are moved: for one that the model has made.

Unlike a portrait it is drawn once, so that nothing is worth preparing but what is around the eyes.
"""

import math
from collections.abc import Iterator

import numpy as np

from server.animation.eye_warp import EyeWarp
from server.animation.idle_motion import Pose
from server.pictures.face_finder import Box
from server.pictures.fine import FinePicture, colors
from server.pictures.mesh import FaceMesh
from server.pictures.portrait import Picture

FACTOR = 4
"""How many times its size an eye gets: enough for what moves fast."""
MARGIN = 2
"""Pixels around an eye that are looked up, too."""


def with_lids(picture: Picture, mesh: FaceMesh, closure: float) -> Picture:
    """Returns a picture, uint8 [height, width, 3], whose lids are closed by a part, 0 to 1."""
    drawn, pose = picture.copy(), Pose(closure=closure)
    for eye in map(EyeWarp, mesh.eyes):
        for rows, columns, margin in _part(eye.box(pose), picture.shape):
            fine = FinePicture(picture, (rows, columns), margin, FACTOR)
            y, x = (places.ravel() for places in np.mgrid[rows, columns].astype(np.float32))
            at, pixels = eye.drawn(fine, *fine.places(x, y), pose)
            drawn[y[at].astype(np.intp), x[at].astype(np.intp)] = colors(pixels)
    return drawn


def _part(box: Box, shape: tuple[int, ...]) -> Iterator[tuple[slice, slice, int]]:
    """Yields rows and columns of an eye, and what margin they need; none where it is not shown."""
    height, width, _ = shape
    left, top, right, bottom = box
    beyond = max(0.0, -left, -top, right - width, bottom - height)
    rows = slice(max(0, math.floor(top)), min(height, math.ceil(bottom)))
    columns = slice(max(0, math.floor(left)), min(width, math.ceil(right)))
    if rows.start < rows.stop and columns.start < columns.stop:
        yield rows, columns, MARGIN + math.ceil(beyond)
