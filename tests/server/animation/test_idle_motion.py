"""Ten minutes of motion, in no time: it is a function of time."""

from itertools import pairwise

import numpy as np
import pytest

from server.animation.idle_motion import (
    BLINK_S,
    GAZE,
    GLANCE,
    HEAD_X,
    HEAD_Y,
    ROLL,
    TURN,
    Motion,
    closure,
)

MOMENTS_S = np.arange(0, 600, 0.04)
SEEDS = (0, 43, 2**64 - 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_minute_has_12_to_20_blinks_of_150_to_250_ms(seed: int) -> None:
    motion = Motion(seed)
    blinks = sorted({motion.blink(at_s) for at_s in MOMENTS_S} - {motion.blink(0)})
    begins = np.array([begin_s for begin_s, _ in blinks])
    for minute in range(10):
        assert 12 <= ((begins >= 60 * minute) & (begins < 60 * minute + 60)).sum() <= 20
    assert all(0.15 <= length_s <= 0.25 for _, length_s in blinks)
    assert 0.15 <= BLINK_S[0] < BLINK_S[1] <= 0.25
    apart = np.diff(begins)
    assert 1 < apart.min() < apart.max() < 7
    assert apart.std() > 0.5


def test_lids_close_faster_than_they_open() -> None:
    shut = [closure(part) for part in np.linspace(0, 1, 201)]
    steps = np.diff(shut)
    assert 0 < (steps > 0).sum() < (steps < 0).sum()
    assert (shut[0], max(shut), shut[-1]) == (0, 1, 0)
    assert closure(-1) == closure(2) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_gaze_shifts_every_2_to_5_s(seed: int) -> None:
    motion = Motion(seed)
    looks = [motion.gaze(at_s) for at_s in MOMENTS_S]
    moves = [before != after for before, after in pairwise(looks)]
    begins = MOMENTS_S[1:][[now and not before for before, now in pairwise([False, *moves])]]
    apart = np.diff(begins)
    assert 2 - 0.04 <= apart.min() < apart.max() <= 5 + 0.04
    assert apart.std() > 0.3
    assert (np.abs(looks).max(axis=0) <= GAZE).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_head_stays_inside_its_range_and_moves_smoothly(seed: int) -> None:
    motion = Motion(seed)
    poses = [motion.pose(at_s) for at_s in MOMENTS_S]
    places = np.array([(*pose.shift, *pose.turn, pose.roll) for pose in poses])
    most = np.array([HEAD_X, HEAD_Y, *TURN, ROLL])
    assert (np.abs(places).max(axis=0) <= most).all()
    assert (np.ptp(places, axis=0) > most).all()
    assert (np.abs(np.diff(places, axis=0)).max(axis=0) < most / 20).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_listener_looks_at_the_viewer_nods_and_stays_inside_the_range_of_idle_life(
    seed: int,
) -> None:
    motion = Motion(seed)
    listener = [motion.pose(at_s, attention=1.0) for at_s in MOMENTS_S]
    looks = np.array([pose.gaze for pose in listener])
    assert (np.abs(looks).max(axis=0) <= GLANCE).all()
    assert (looks == 0).all(axis=1).mean() > 0.9
    assert shifts(looks) <= 0.6 * shifts(np.array([motion.gaze(at_s) for at_s in MOMENTS_S]))
    nods = np.array([motion.nod(at_s) for at_s in MOMENTS_S])
    begins = MOMENTS_S[1:][(nods[1:] > 0) & (nods[:-1] == 0)]
    for minute in range(10):
        assert 6 <= ((begins >= 60 * minute) & (begins < 60 * minute + 60)).sum() <= 10
    assert np.diff(begins).std() > 0.5
    assert 0.95 < nods.max() <= 1
    heads = np.array([(*pose.shift, *pose.turn, pose.roll) for pose in listener])
    most = np.array([HEAD_X, HEAD_Y, *TURN, ROLL])
    assert (np.abs(heads).max(axis=0) <= most).all()
    assert (np.abs(np.diff(heads, axis=0)).max(axis=0) < most / 8).all()
    idle = [motion.pose(at_s) for at_s in MOMENTS_S]
    assert [pose.closure for pose in listener] == [pose.closure for pose in idle]


def shifts(looks: np.ndarray) -> int:
    """Counts how often a gaze begins to move."""
    moves = (np.diff(looks, axis=0) != 0).any(axis=1)
    return int((moves[1:] & ~moves[:-1]).sum())


def test_a_seed_is_a_motion_and_any_moment_can_be_asked_for() -> None:
    forwards = [Motion(7).pose(at_s) for at_s in MOMENTS_S[:500]]
    motion = Motion(7)
    backwards = [motion.pose(at_s) for at_s in MOMENTS_S[:500][::-1]]
    assert forwards == backwards[::-1]
    assert forwards != [Motion(8).pose(at_s) for at_s in MOMENTS_S[:500]]


def test_a_face_that_is_not_awake_only_blinks() -> None:
    motion = Motion(43)
    blinking = next(at_s for at_s in MOMENTS_S if motion.closure(at_s) == 1)
    pose = motion.pose(blinking, 0.0)
    assert pose.closure == 1
    assert (pose.gaze, pose.shift, pose.turn, pose.roll) == ((0, 0), (0, 0), (0, 0), 0)
    assert motion.pose(blinking, 0.0, blinks=False).closure == 0
