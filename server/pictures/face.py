"""Where the face is: the preview variant hears on the face alone.

The box is the caller's, or a detector's; in tokens of the denoiser, 16 pixels wide, it is a mask.
"""

import asyncio
from dataclasses import dataclass

import numpy as np
from PIL import Image

from server.arrays import FloatArray
from server.pictures.portrait import Placement
from server.triton.contract import FACE_DETECTOR, SIDE_MULTIPLE, Arrays
from server.triton.engine import Engine, Priority

DETECTOR_SIDE_PX = 640
"""The longer side of what the detector sees."""
DETECTOR_MULTIPLE = 32
PIXELS_PER_CELL = 4
MIN_SCORE = 0.5


@dataclass(frozen=True, slots=True)
class FaceBox:
    """A face in pixels of the portrait; right and bottom are exclusive."""

    left: float
    top: float
    right: float
    bottom: float


async def find_face(
    engine: Engine, image: Image.Image, priority: Priority = Priority.NORMAL
) -> FaceBox | None:
    """Returns the face that the detector is most certain of, or None.

    Raises:
        EngineUnavailableError: the detector cannot be run now.
    """
    pixels, (width, height) = await asyncio.to_thread(_detector_input, image)
    maps = await engine.run(FACE_DETECTOR, {"image": pixels}, priority=priority)
    box = _most_certain({name: array[0] for name, array in maps.items()})
    if box is None:
        return None
    across, down = image.width / width, image.height / height
    return FaceBox(
        max(0.0, box.left * across),
        max(0.0, box.top * down),
        min(float(image.width), box.right * across),
        min(float(image.height), box.bottom * down),
    )


def _detector_input(image: Image.Image) -> tuple[FloatArray, tuple[int, int]]:
    """Returns what the detector sees, [1, 3, rows, columns], and the size of the image in it."""
    seen = image.copy()
    seen.thumbnail((DETECTOR_SIDE_PX, DETECTOR_SIDE_PX), Image.Resampling.BILINEAR)
    # Padded rather than stretched: a face keeps its shape.
    sides = [-(-side // DETECTOR_MULTIPLE) * DETECTOR_MULTIPLE for side in seen.size]
    padded = Image.new("RGB", (sides[0], sides[1]))
    padded.paste(seen)
    pixels = np.asarray(padded, np.float32).transpose(2, 0, 1)[None]
    return np.ascontiguousarray(pixels), seen.size


def _most_certain(maps: Arrays) -> FaceBox | None:
    heat = maps["heatmap"][0]
    row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
    if heat[row, column] < MIN_SCORE:
        return None
    height, width = np.exp(maps["log_size"][:, row, column]) * PIXELS_PER_CELL
    down, across = maps["offset"][:, row, column]
    y = (row + down + 0.5) * PIXELS_PER_CELL
    x = (column + across + 0.5) * PIXELS_PER_CELL
    left, top = float(x - width / 2), float(y - height / 2)
    return FaceBox(left, top, left + float(width), top + float(height))


def everywhere(width: int, height: int) -> FloatArray:
    """Returns the mask [rows, columns] of a picture that is all face."""
    return np.ones((height // SIDE_MULTIPLE, width // SIDE_MULTIPLE), np.float32)


def is_shown(box: FaceBox, placement: Placement) -> bool:
    """Tells whether any of a face is in the picture."""
    left, top = placement.point(box.left, box.top)
    right, bottom = placement.point(box.right, box.bottom)
    return left < placement.width and top < placement.height and right > 0 and bottom > 0


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
