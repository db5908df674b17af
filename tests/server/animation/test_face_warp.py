"""A drawn face, moved."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from server.animation.face_warp import HEAD, RAISED, REACH, STRETCH, FaceWarp
from server.animation.idle_motion import HEAD_X, HEAD_Y, ROLL, TURN, Pose
from server.pictures.mesh import FaceMesh
from server.pictures.portrait import Picture
from tests.support.faces import EYES, FACE_BOX, IRIS, SIDE, WHITE, face

ANGLES = (0.0, 0.4, -math.pi / 2)


def like(picture: Picture, color: NDArray[np.uint8], tolerance: int = 60) -> NDArray[np.bool_]:
    return np.abs(picture.astype(int) - color).max(axis=-1) < tolerance


def middle(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean place, x and y."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()])


def nose(picture: Picture) -> NDArray[np.float64]:
    """Where it is, x and y, by how red pixels are."""
    red = picture[..., 0].astype(float) - picture[..., 1]
    weights = np.clip(red - 100, 0, None)
    down, across = np.indices(red.shape)
    return np.array([(weights * place).sum() / weights.sum() for place in (across, down)])


def open_share(picture: Picture, still: Picture) -> float:
    """How much of the eyes is to be seen."""

    def eyes(of: Picture) -> int:
        return int((like(of, WHITE) | like(of, IRIS)).sum())

    return eyes(picture) / eyes(still)


@pytest.mark.parametrize("angle", ANGLES)
def test_at_rest_a_face_is_its_picture(angle: float) -> None:
    picture, mesh = face(angle)
    assert np.array_equal(FaceWarp(picture, mesh).draw(Pose()), picture)


@pytest.mark.parametrize("angle", ANGLES)
def test_lids_close_over_the_eyes_from_above(angle: float) -> None:
    picture, mesh = face(angle)
    warp = FaceWarp(picture, mesh)
    shares = [open_share(warp.draw(Pose(closure=part)), picture) for part in (0, 0.3, 0.6, 1)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.85
    assert 0.2 < shares[2] < 0.6
    assert shares[3] < 0.02


def test_a_lid_slides_over_an_eye_that_stays_where_it_is() -> None:
    picture, mesh = face()
    half = FaceWarp(picture, mesh).draw(Pose(closure=0.5))
    x, y = (round(place) for place in EYES[0])
    # Below the lid's edge the iris is as it was; above there is skin.
    assert np.array_equal(half[y + 2, x - 6 : x + 7], picture[y + 2, x - 6 : x + 7])
    assert not like(half, IRIS)[: y - 2].any()
    assert like(half, np.array([200, 150, 120], np.uint8))[y - 5, x]


@pytest.mark.parametrize("angle", ANGLES)
def test_irises_shift_inside_eyes_that_keep_their_shape(angle: float) -> None:
    picture, mesh = face(angle)
    warp = FaceWarp(picture, mesh)
    looks = warp.draw(Pose(gaze=(0.45, 0)))
    along = np.array([math.cos(angle), math.sin(angle)])
    moved = (middle(like(looks, IRIS)) - middle(like(picture, IRIS))) @ along
    assert moved == pytest.approx(0.45 * mesh.eyes[0].iris_radius, abs=0.5)
    assert open_share(looks, picture) == pytest.approx(1, abs=0.12)


def test_the_head_moves_and_what_is_around_it_does_not() -> None:
    picture, mesh = face()
    warp = FaceWarp(picture, mesh)
    width = FACE_BOX[2] - FACE_BOX[0]
    moved = warp.draw(Pose(shift=(HEAD_X, 0)))
    step = nose(moved) - nose(picture)
    assert step == pytest.approx([HEAD_X * width, 0], abs=0.2)
    for corner in (np.s_[:30, :30], np.s_[:30, -30:], np.s_[-30:, :30]):
        assert np.array_equal(moved[corner], picture[corner])
    turned = warp.draw(Pose(turn=(0.03, 0.02)))
    eye = middle(like(turned, IRIS)) - middle(like(picture, IRIS))
    assert (nose(turned) - nose(picture))[0] > eye[0] > 0
    rolled = warp.draw(Pose(roll=0.0157))
    left, right = (like(rolled, IRIS)[:, half] for half in (slice(0, 128), slice(128, None)))
    assert middle(right)[1] > middle(left)[1]


def waves(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """A texture that is known at any place, of at most 21 levels a pixel."""
    return 128 + 80 * np.sin(x / 4) * np.stack([np.cos(y / 9), np.sin(y / 5), np.cos(y / 7)])


def plainly_before(mesh: FaceMesh, pose: Pose) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each pixel was before the head moved, by the words of `face_warp` alone."""
    left, top, right, bottom = mesh.box
    width, height = right - left, bottom - top
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    across = x - (left + right) / 2
    down = y - (top + bottom) / 2 + RAISED * height
    radius = np.hypot(across / (HEAD[0] * width), down / (HEAD[1] * height))
    near = np.clip((REACH - radius) / (REACH - 1), 0, 1)
    moves = near**2 * (3 - 2 * near)
    turns = np.clip(1 - radius**2, 0, None) ** 2
    (shift_x, shift_y), (turn_x, turn_y) = pose.shift, pose.turn
    return (
        x - moves * (width * shift_x - pose.roll * down) - turns * width * turn_x,
        y - moves * (width * shift_y + pose.roll * across) - turns * width * turn_y,
    )


@pytest.mark.parametrize("way", [1, -1])
def test_a_head_is_where_a_plain_twin_has_it(way: int) -> None:
    _, mesh = face()
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    picture = np.rint(waves(x, y)).astype(np.uint8).transpose(1, 2, 0)
    pose = Pose(
        shift=(way * HEAD_X, way * HEAD_Y), turn=(way * TURN[0], -way * TURN[1]), roll=way * ROLL
    )
    expected = waves(*plainly_before(mesh, pose)).transpose(1, 2, 0)
    error = np.abs(FaceWarp(picture, mesh).draw(pose) - expected)
    # The nearest of eight parts of a pixel, and a block of two by two that moves as one.
    assert error.max() < 21 * (1 / 8 + STRETCH) + 2
    assert error.mean() < 0.6
    assert np.abs(picture - expected).max() > 60


def test_movement_is_smooth() -> None:
    picture, mesh = face()
    warp = FaceWarp(picture, mesh)
    drawn = [warp.draw(Pose(shift=(0.015 * part, 0))) for part in np.linspace(0, 1, 9)]
    noses = np.array([nose(one)[0] for one in drawn])
    assert (np.diff(noses) > 0).all()
    assert np.diff(noses).max() < 0.6


@pytest.mark.parametrize("shift", [(-90.0, 0.0), (110.0, 60.0), (0.0, -120.0)])
def test_a_face_at_the_border_is_moved_as_far_as_it_is_there(shift: tuple[float, float]) -> None:
    picture, mesh = face(shift=shift)
    most = Pose(1.0, (-0.45, 0.2), (0.015, -0.012), (-0.03, 0.02), 0.0157)
    drawn = FaceWarp(picture, mesh).draw(most)
    assert (drawn.shape, drawn.dtype) == (picture.shape, picture.dtype)
    assert drawn.min() >= picture.min()
    assert not np.array_equal(drawn, picture)


def test_pictures_are_each_their_own() -> None:
    picture, mesh = face()
    before = picture.copy()
    warp = FaceWarp(picture, mesh)
    first = warp.draw(Pose(closure=1))
    kept = first.copy()
    warp.draw(Pose())
    assert np.array_equal(first, kept)
    assert np.array_equal(picture, before)
