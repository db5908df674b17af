"""Where the face is: the preview variant hears on the face alone.

The box is the caller's, or a detector's; in tokens of the denoiser, 16 pixels wide, it is a mask.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.contract import SIDE_MULTIPLE
from server.portrait import Placement

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FaceBox:
    """A face in pixels of the portrait; right and bottom are exclusive."""

    left: float
    top: float
    right: float
    bottom: float


def everywhere(width: int, height: int) -> FloatArray:
    """Returns the mask [rows, columns] of a picture that is all face."""
    return np.ones((height // SIDE_MULTIPLE, width // SIDE_MULTIPLE), np.float32)


def face_mask(box: FaceBox, placement: Placement) -> FloatArray:
    """Returns the mask [rows, columns] of a face: 1 in the tokens where audio acts.

    Both ends of the box are rounded down, as the authors do it, so a very small face may get no
    token at all.
    """
    left, top = placement.point(box.left, box.top)
    right, bottom = placement.point(box.right, box.bottom)
    mask = np.zeros_like(everywhere(placement.width, placement.height))
    rows, columns = (
        slice(max(0, int(start // SIDE_MULTIPLE)), max(0, int(end // SIDE_MULTIPLE)))
        for start, end in ((top, bottom), (left, right))
    )
    mask[rows, columns] = 1
    return mask


def at_least_one_token(mask: FloatArray, box: FaceBox, placement: Placement) -> FloatArray:
    """Returns a mask, or where it is empty one of the token at the middle of the face."""
    if mask.any():
        return mask
    x, y = placement.point((box.left + box.right) / 2, (box.top + box.bottom) / 2)
    rows, columns = mask.shape
    token = np.zeros_like(mask)
    row, column = (int(np.clip(v // SIDE_MULTIPLE, 0, n - 1)) for v, n in ((y, rows), (x, columns)))
    token[row, column] = 1
    return token
