"""Lids over a picture that is drawn once, beside the warp of a portrait."""

import math

import numpy as np
import pytest

from server.animation.eye_warp import EyeWarp
from server.animation.face_warp import FaceWarp
from server.animation.idle_motion import Pose
from server.animation.lid_warp import with_lids
from tests.support.faces import face

ANGLES = (0.0, 0.4, -math.pi / 2)
PARTS = (0.25, 0.6, 1.0)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("part", PARTS)
def test_lids_are_those_of_a_portraits_warp(angle: float, part: float) -> None:
    picture, mesh = face(angle)
    plain = FaceWarp(picture, mesh).draw(Pose(closure=part)).astype(int)
    difference = np.abs(with_lids(picture, mesh, part) - plain)
    # Half as fine: an edge is a quarter of a pixel away.
    assert difference.mean() < 0.05
    assert (difference.max(axis=-1) > 60).mean() < 1e-3


def test_nothing_but_the_eyes_is_touched() -> None:
    picture, mesh = face()
    before = picture.copy()
    drawn = with_lids(picture, mesh, 0.7)
    touched = np.zeros(picture.shape[:2], bool)
    for eye in mesh.eyes:
        left, top, right, bottom = (round(side) for side in EyeWarp(eye).box(Pose(closure=0.7)))
        touched[top - 1 : bottom + 1, left - 1 : right + 1] = True
    assert np.array_equal(drawn[~touched], picture[~touched])
    assert not np.array_equal(drawn, picture)
    assert np.array_equal(picture, before)


@pytest.mark.parametrize("shift", [(-95.0, 0.0), (100.0, 60.0), (0.0, -118.0), (-200.0, 0.0)])
def test_an_eye_at_the_border_is_closed_as_far_as_it_is_there(shift: tuple[float, float]) -> None:
    picture, mesh = face(shift=shift)
    drawn = with_lids(picture, mesh, 1.0)
    assert (drawn.shape, drawn.dtype) == (picture.shape, picture.dtype)
    plain = FaceWarp(picture, mesh).draw(Pose(closure=1.0)).astype(int)
    assert np.abs(drawn - plain).mean() < 0.3
