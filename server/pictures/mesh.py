"""Meshes of the faces in a picture: 468 points, eyelids and irises.

MediaPipe's networks, one after the other: BlazeFace finds faces, Face Mesh lays points over each
(Kartynnik et al. 2019, "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs"),
and Iris looks at each eye (Ablavatski et al. 2020, "Real-time Pupil Tracking from Monocular Video
for Digital Puppetry"). The numbers of points are those of MediaPipe's canonical face.
"""

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.arrays import FloatArray
from server.pictures.face_finder import SAME_FACE, Box, FoundFace, common, find
from server.pictures.patch import Patch
from server.triton.contract import (
    EYE_MESH,
    EYE_SIDE_PX,
    FACE_MESH,
    MESH_SIDE_PX,
    PORTRAIT_NETWORKS,
)
from server.triton.engine import Engine, Priority

MIN_SCORE = 0.5
MAX_FACES = FACE_MESH.max_batch_size
FACE_MARGIN, EYE_MARGIN = 1.5, 2.3
"""How many times the box of a face, and the length of an eye, the networks are to see."""
CORNERS = ((33, 133), (362, 263))
"""Of the eyes, the left one in the picture first: points from left to right."""
OUTER = (33, 263)
"""Corners of the eyes at the temples."""
_LOWER_LID = list(range(9))
_UPPER_LID = [0, *range(9, 16), 8]
"""Points of the eye's contour from the outer corner to the inner one, both included."""


Face = tuple[FloatArray, float]
"""Points, and how certain it is that they are of a face."""


@dataclass(frozen=True, slots=True)
class Eye:
    """An eye, in pixels of the picture.

    Attributes:
        upper_lid: [9, 2]: x and y along its edge, from the outer corner of the eye to the inner
            one, both included.
        lower_lid: [9, 2]: likewise, with the same corners.
        iris: [2]: x and y of its centre.
        iris_radius: of the iris, most of which a closed eye hides.
    """

    upper_lid: FloatArray
    lower_lid: FloatArray
    iris: FloatArray
    iris_radius: float

    @property
    def openness(self) -> float:
        """How far the lids are apart, as a share of the eye's length: about 0.3 if it is open."""
        apart = np.linalg.norm(self.upper_lid[2:-2] - self.lower_lid[2:-2], axis=1).mean()
        return float(apart / np.linalg.norm(self.upper_lid[0] - self.upper_lid[-1]))


@dataclass(frozen=True, slots=True)
class FaceMesh:
    """A face, in pixels of the picture; x to the right, y down.

    Attributes:
        points: [468, 3]: x, y, and z away from the viewer, of about the same scale and relative to
            the head.
        eyes: the one that is left in an upright picture, the person's right, and the other.
        score: how certain it is that this is a face, 0 to 1.
    """

    points: FloatArray
    eyes: tuple[Eye, Eye]
    score: float

    @property
    def box(self) -> Box:
        """Left, top, right and bottom of the points: brow to chin, without the hair."""
        return _bounds(self.points)


def has_mesh(networks: Sequence[str] | frozenset[str]) -> bool:
    """Tells whether a repository with some networks can find meshes; older ones cannot."""
    return PORTRAIT_NETWORKS.keys() <= set(networks)


async def find_meshes(
    engine: Engine, picture: NDArray[np.uint8], priority: Priority = Priority.NORMAL
) -> tuple[FaceMesh, ...]:
    """Returns the faces in a picture, the largest first; at most `MAX_FACES`.

    Args:
        engine: runs the networks `PORTRAIT_NETWORKS`.
        picture: RGB, [height, width, 3].
        priority: of the executions.

    Raises:
        EngineUnavailableError: a network cannot be run now.
    """
    image = Image.fromarray(picture)
    found = await find(engine, image, priority)
    patches = [_around(face) for face in found[:MAX_FACES]]
    faces: list[Face] = []
    for _ in range(2):
        # Once more, as the mesh then tells better where each face lies.
        looked = await _faces(engine, [(image, patch) for patch in patches], priority)
        faces = _each_once(face for face in looked if face[1] >= MIN_SCORE)
        patches = [_around_mesh(points) for points, _ in faces]
    return tuple(await _with_eyes(engine, [(image, face) for face in faces], priority))


async def follow_face(
    engine: Engine,
    pictures: Sequence[NDArray[np.uint8]],
    face: FaceMesh,
    priority: Priority = Priority.NORMAL,
) -> list[FaceMesh | None]:
    """Returns a face in pictures that were taken soon after each other; None where it is lost.

    Looking where the face has been takes a tenth of the time of finding it.

    Args:
        engine: runs the networks `FACE_MESH` and `EYE_MESH`.
        pictures: RGB, [height, width, 3] each.
        face: as it was in a picture soon before or after them.
        priority: of the executions.

    Raises:
        EngineUnavailableError: a network cannot be run now.
    """
    patch = _around_mesh(face.points)
    meshes: list[FaceMesh | None] = []
    for first in range(0, len(pictures), MAX_FACES):
        images = [Image.fromarray(picture) for picture in pictures[first : first + MAX_FACES]]
        looked = await _faces(engine, [(image, patch) for image in images], priority)
        found = await _with_eyes(engine, list(zip(images, looked, strict=True)), priority)
        meshes += [mesh if mesh.score >= MIN_SCORE else None for mesh in found]
    return meshes


async def _faces(
    engine: Engine, views: Sequence[tuple[Image.Image, Patch]], priority: Priority
) -> list[Face]:
    if not views:
        return []
    seen = await _seen(views, MESH_SIDE_PX)
    results = await engine.run(FACE_MESH, {"image": seen}, priority=priority)
    scores = 1 / (1 + np.exp(-results["logit"][:, 0]))
    return [
        (patch.to_picture(points, MESH_SIDE_PX), float(score))
        for (_, patch), points, score in zip(views, results["points"], scores, strict=True)
    ]


def _around(face: FoundFace) -> Patch:
    (x0, y0), (x1, y1) = face.eyes.tolist()
    return _square(face.box, math.atan2(y1 - y0, x1 - x0))


def _around_mesh(points: FloatArray) -> Patch:
    (x0, y0), (x1, y1) = points[list(OUTER), :2].tolist()
    angle = math.atan2(y1 - y0, x1 - x0)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    upright = _square(_bounds(points[:, :2] @ turn), 0)
    x, y = (turn @ (upright.x, upright.y)).tolist()
    return Patch(x, y, upright.side, angle)


def _square(box: Box, angle: float) -> Patch:
    left, top, right, bottom = box
    side = FACE_MARGIN * max(right - left, bottom - top)
    return Patch((left + right) / 2, (top + bottom) / 2, side, angle)


def _bounds(points: FloatArray) -> Box:
    (left, top), (right, bottom) = points[:, :2].min(0), points[:, :2].max(0)
    return float(left), float(top), float(right), float(bottom)


def _each_once(faces: Iterable[Face]) -> list[Face]:
    """Returns faces without those that are another one's, the largest first."""
    kept: list[Face] = []
    for points, score in sorted(faces, key=lambda face: -_area(_bounds(face[0]))):
        if all(common(_bounds(points), _bounds(other)) <= SAME_FACE for other, _ in kept):
            kept.append((points, score))
    return kept


def _area(box: Box) -> float:
    left, top, right, bottom = box
    return (right - left) * (bottom - top)


async def _with_eyes(
    engine: Engine, faces: Sequence[tuple[Image.Image, Face]], priority: Priority
) -> list[FaceMesh]:
    if not faces:
        return []
    views = [
        # The network knows the one that is left in the picture, so the other is mirrored.
        (image, _around_eye(points[list(corners), :2], mirrored=corners == CORNERS[1]))
        for image, (points, _) in faces
        for corners in CORNERS
    ]
    seen = await _seen(views, EYE_SIDE_PX)
    results = await engine.run(EYE_MESH, {"image": seen}, priority=priority)
    eyes = [
        _eye(patch, contour, iris)
        for (_, patch), contour, iris in zip(
            views, results["contour"], results["iris"], strict=True
        )
    ]
    pairs = zip(eyes[::2], eyes[1::2], strict=True)
    return [
        FaceMesh(points, pair, score)
        for (_, (points, score)), pair in zip(faces, pairs, strict=True)
    ]


def _around_eye(corners: FloatArray, *, mirrored: bool) -> Patch:
    (x0, y0), (x1, y1) = corners.tolist()
    length = math.hypot(x1 - x0, y1 - y0)
    angle = math.atan2(y1 - y0, x1 - x0)
    return Patch((x0 + x1) / 2, (y0 + y1) / 2, EYE_MARGIN * length, angle, mirrored)


def _eye(patch: Patch, contour: FloatArray, iris: FloatArray) -> Eye:
    lids = patch.to_picture(contour[:, :2], EYE_SIDE_PX)
    centre, *rim = patch.to_picture(iris[:, :2], EYE_SIDE_PX)
    radius = float(np.linalg.norm(np.array(rim) - centre, axis=1).mean())
    return Eye(lids[_UPPER_LID], lids[_LOWER_LID], centre, radius)


async def _seen(views: Sequence[tuple[Image.Image, Patch]], side_px: int) -> NDArray[np.uint8]:
    return await asyncio.to_thread(
        lambda: np.stack([patch.seen(image, side_px) for image, patch in views])
    )
