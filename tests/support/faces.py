"""A drawn face whose mesh is known, for warps to move."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from server.arrays import FloatArray
from server.pictures.mesh import Eye, FaceMesh
from server.pictures.portrait import Picture

SKIN, WHITE, IRIS, LASH, NOSE = (
    np.array(color, np.uint8)
    for color in ((200, 150, 120), (250, 250, 250), (40, 60, 160), (20, 10, 10), (255, 0, 0))
)
SIDE = 256
EYE_LENGTH, EYE_HEIGHT, IRIS_RADIUS = 34.0, 12.0, 5.0
EYES = ((104.0, 120.0), (152.0, 120.0))
"""Their middles."""
NOSE_AT = (128.0, 150.0)
FACE_BOX = (78.0, 80.0, 178.0, 200.0)


def face(angle: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)) -> tuple[Picture, FaceMesh]:
    """Returns a face, turned clockwise and then shifted, and its mesh."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def placed(points: NDArray[np.float64]) -> FloatArray:
        return ((points - SIDE / 2) @ turn.T + SIDE / 2 + shift).astype(np.float32)

    down, across = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    where = (np.stack([across, down], -1) - SIDE / 2 - shift) @ turn + SIDE / 2
    left, top, right, bottom = FACE_BOX
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    points = np.zeros((468, 3), np.float32)
    points[:, :2] = placed(np.resize(corners, (468, 2)))
    left_eye, right_eye = (_eye(*middle, placed) for middle in EYES)
    # From the outer corner to the inner one: the other way round on the right.
    right_eye = replace(
        right_eye, upper_lid=right_eye.upper_lid[::-1], lower_lid=right_eye.lower_lid[::-1]
    )
    return _drawn(where[..., 0], where[..., 1]), FaceMesh(points, (left_eye, right_eye), 1.0)


def _drawn(x: NDArray[np.float64], y: NDArray[np.float64]) -> Picture:
    picture = np.broadcast_to(SKIN, (SIDE, SIDE, 3)).copy()
    picture[(x // 16 + y // 16) % 2 == 0] -= np.uint8(6)
    for eye_x, eye_y in EYES:
        half = _half_open(x - eye_x)
        picture[np.abs(y - eye_y) < half + 1.5] = LASH
        # Lashes are around the edge of the lids.
        opening = np.abs(y - eye_y) < half - 1.5
        picture[opening] = WHITE
        picture[opening & (np.hypot(x - eye_x, y - eye_y) < IRIS_RADIUS)] = IRIS
    picture[np.hypot(x - NOSE_AT[0], y - NOSE_AT[1]) < 4] = NOSE
    return picture


def _half_open(across: NDArray[np.float64]) -> NDArray[np.float64]:
    return EYE_HEIGHT / 2 * (1 - np.square(across / (EYE_LENGTH / 2)))


def _eye(x: float, y: float, placed: Callable[[NDArray[np.float64]], FloatArray]) -> Eye:
    across = np.linspace(-EYE_LENGTH / 2, EYE_LENGTH / 2, 9)
    upper, lower = (
        placed(np.stack([x + across, y + side * _half_open(across)], -1)) for side in (-1, 1)
    )
    return Eye(upper, lower, placed(np.array([x, y])), IRIS_RADIUS)
