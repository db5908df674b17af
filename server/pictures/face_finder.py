"""Where faces are, roughly: MediaPipe's BlazeFace looks at the whole picture and at parts of it.

Bazarevsky et al. 2019, "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", for faces
within two metres of a camera: heads of about a quarter of what it sees and more. So it also looks
at parts of half the length, and from further away for a face that fills the picture. Heads of less
than an eighth of the picture are not found.
"""

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image

from server.arrays import FloatArray
from server.pictures.patch import Patch
from server.triton.contract import FACE_FINDER, FINDER_SIDE_PX
from server.triton.engine import Engine, Priority

MIN_SCORE = 0.5
SAME_FACE = 0.3
"""Boxes of which more is common than that are of one face: intersection over union."""
GRIDS = ((8, 2), (16, 6))
"""Pixels between anchors, and how many anchors there are at each place."""
PART, STEP = 0.5, 0.25
"""Lengths of the parts that it looks at, and from one to the next, in those of the picture."""
FURTHER_AWAY = 1.7
TURNS = (0.0, math.pi / 2, -math.pi / 2, math.pi)
"""How a picture may lie: upright, on a side, on its head."""
CLEARLY = 0.05
"""How much more certain a face has to be if the picture is turned. It finds some either way."""


Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face in pixels of the picture.

    Attributes:
        box: left, top, right, bottom.
        eyes: [2, 2]: x and y of both, the left one in the picture first.
        score: how certain it is, 0 to 1.
    """

    box: Box
    eyes: FloatArray
    score: float


async def find(
    engine: Engine, image: Image.Image, priority: Priority = Priority.NORMAL
) -> list[FoundFace]:
    """Returns the faces in a picture, the most certain first; heads may be turned by any angle.

    Args:
        engine: runs the network.
        image: RGB.
        priority: of the executions.

    Raises:
        EngineUnavailableError: it cannot be run now.
    """
    turns = [_whole(image.size, angle) for angle in TURNS]
    flat = await _look(engine, image, [view for views in turns for view in views], priority)
    per_turn = len(turns[0])
    of_turns = [
        [face for faces in flat[start : start + per_turn] for face in faces]
        for start in range(0, len(flat), per_turn)
    ]
    best = [max((face.score for face in faces), default=0.0) for faces in of_turns]
    best[0] += CLEARLY
    turn = int(np.argmax(best))
    parts = await _look(engine, image, _parts(image.size, TURNS[turn]), priority)
    return _each_once([*of_turns[turn], *(face for faces in parts for face in faces)])


def _whole(size: tuple[int, int], angle: float) -> list[Patch]:
    width, height = size
    side = max(size)
    return [Patch(width / 2, height / 2, s, angle) for s in (side, side * FURTHER_AWAY)]


def _parts(size: tuple[int, int], angle: float) -> list[Patch]:
    side = max(size) * PART
    columns, rows = (_middles(length, side, max(size) * STEP) for length in size)
    return [Patch(x, y, side, angle) for x, y in product(columns, rows)]


def _middles(length: float, side: float, step: float) -> list[float]:
    """Returns the middles of parts that cover a length, no further than a step from each other."""
    count = max(1, math.ceil((length - side) / step - 1e-6) + 1)
    first, last = min(side, length) / 2, length - min(side, length) / 2
    return np.linspace(first, last, count).tolist()


async def _look(
    engine: Engine, image: Image.Image, views: Sequence[Patch], priority: Priority
) -> list[list[FoundFace]]:
    """Returns what is found in each of some parts of a picture."""
    seen = await asyncio.to_thread(
        lambda: np.stack([view.seen(image, FINDER_SIDE_PX) for view in views])
    )
    results = await engine.run(FACE_FINDER, {"image": seen}, priority=priority)
    return [
        list(_faces(view, boxes, logits))
        for view, boxes, logits in zip(views, results["boxes"], results["logits"], strict=True)
    ]


def _anchors() -> FloatArray:
    """Returns the places of the network's anchors, [n, 2], in pixels of what it sees."""
    places: list[FloatArray] = []
    for step, count in GRIDS:
        middles = np.arange(step / 2, FINDER_SIDE_PX, step, dtype=np.float32)
        y, x = np.meshgrid(middles, middles, indexing="ij")
        places.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), count, axis=0))
    return np.concatenate(places)


def _faces(view: Patch, boxes: FloatArray, logits: FloatArray) -> Iterable[FoundFace]:
    likely = np.flatnonzero(logits > math.log(MIN_SCORE / (1 - MIN_SCORE)))
    anchors = _anchors()[likely]
    # Centre, sides, eyes, and four points more: all but the sides are relative to the anchor.
    values = boxes[likely].reshape(-1, 8, 2)
    centres, sides = anchors + values[:, 0], np.abs(values[:, 1])
    eyes = view.to_picture(anchors[:, None] + values[:, 2:4], FINDER_SIDE_PX)
    middles = view.to_picture(centres, FINDER_SIDE_PX)
    reach = sides * (view.side / FINDER_SIDE_PX / 2)
    for middle, half, pair, logit in zip(middles, reach, eyes, logits[likely], strict=True):
        (left, top), (right, bottom) = (middle - half).tolist(), (middle + half).tolist()
        yield FoundFace((left, top, right, bottom), pair, float(1 / (1 + np.exp(-logit))))


def _each_once(faces: Sequence[FoundFace]) -> list[FoundFace]:
    """Returns the most certain of each face that was found several times."""
    kept: list[FoundFace] = []
    for face in sorted(faces, key=lambda face: face.score, reverse=True):
        if all(common(face.box, other.box) <= SAME_FACE for other in kept):
            kept.append(face)
    return kept


def common(one: Box, other: Box) -> float:
    """Returns the intersection of two boxes over their union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (areas - both) if areas > both else 0.0
