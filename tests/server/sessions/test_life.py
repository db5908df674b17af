"""How a portrait's life goes with speech: awake, at rest, and blinks whole or not at all."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from server.animation.idle_motion import Motion, Pose
from server.animation.stitch import Clip
from server.pictures.portrait import Picture
from server.sessions.life import REST_S, SilenceLife, WarpLife
from server.sessions.retiming import Retiming

FRAME_S = 0.04
SEED = 43


def amplitude(pose: Pose) -> float:
    return max(map(abs, (*pose.shift, *pose.turn, pose.roll)))


@pytest.fixture
def life() -> WarpLife:
    return WarpLife(lambda _: np.zeros((2, 2, 3), np.uint8), SEED)


def blink_after(at_s: float) -> tuple[float, float]:
    motion = Motion(SEED)
    return next(
        blink
        for blink in (motion.blink(at_s + n * FRAME_S) for n in range(1000))
        if blink[0] > at_s
    )


def test_a_face_wakes_from_rest_and_comes_to_rest_before_it_speaks(life: WarpLife) -> None:
    moments = np.arange(10, 12, FRAME_S)
    waking = [life.pose(at_s, 10, resting=False) for at_s in moments]
    assert amplitude(waking[0]) == 0
    assert waking[-1] == Motion(SEED).pose(moments[-1], blinks=waking[-1].closure > 0)
    resting = [life.pose(12 + n * FRAME_S, 10, resting=True) for n in range(12)]
    assert all(amplitude(pose) == 0 for pose in resting[round(REST_S / FRAME_S) + 1 :])


def test_nothing_jumps_where_speech_is_expected_and_does_not_come(life: WarpLife) -> None:
    expected = [False] * 40 + [True] * 5 + [False] * 40
    moments = enumerate(expected)
    poses = [life.pose(n * FRAME_S, 0, resting=resting) for n, resting in moments]
    places = np.array([(*pose.shift, *pose.turn, pose.roll) for pose in poses])
    steps = np.abs(np.diff(places, axis=0)).max(axis=1)
    assert steps.max() < 0.008


def places(poses: list[Pose]) -> np.ndarray:
    return np.array([(*pose.gaze, *pose.shift, *pose.turn, pose.roll) for pose in poses])


def test_a_face_begins_to_listen_and_ceases_without_a_jump(life: WarpLife) -> None:
    frames = np.arange(0, 240, FRAME_S)
    # Three seconds each, and once after less than it takes to begin.
    heard = [int(at_s / 3) % 2 == 1 and not 100 < at_s < 100.2 for at_s in frames]
    poses = [
        life.pose(at_s, 0, resting=False, listening=listening)
        for at_s, listening in zip(frames, heard, strict=True)
    ]
    steps = np.abs(np.diff(places(poses), axis=0)).max(axis=0)
    idle = [Motion(SEED).pose(at_s) for at_s in frames]
    # Where nobody listens eyes jump as eyes do, and a face wakes.
    waking = places([life.pose(500 + at_s, 500, resting=False) for at_s in frames[:25]])
    usual = np.abs(np.diff(places(idle), axis=0)).max(axis=0)
    usual = np.maximum(usual, np.abs(np.diff(waking, axis=0)).max(axis=0))
    across, down = 2, 4
    assert (steps[:across] <= usual[:across]).all()
    assert (steps[across:down] < 0.002).all()
    assert (steps[down:] < 0.004).all()


def test_whoever_listens_as_idle_life_begins_listens_at_once(life: WarpLife) -> None:
    first = life.pose(30, 30, resting=False, listening=True)
    assert amplitude(first) == 0
    moments = np.arange(30.04, 32, FRAME_S)
    *_, last = [life.pose(at_s, 30, resting=False, listening=True) for at_s in moments]
    blinks = last.closure > 0
    assert last == Motion(SEED).pose(moments[-1], attention=1.0, blinks=blinks)


def test_the_time_of_speech_is_no_time_to_wake_in(life: WarpLife) -> None:
    for n in range(50):
        life.pose(n * FRAME_S, 0, resting=False)
    assert amplitude(life.pose(60, 60, resting=False)) == 0


def test_half_a_blink_is_not_shown(life: WarpLife) -> None:
    begun_s, length_s = blink_after(20)
    since_s = begun_s + length_s / 3
    assert Motion(SEED).closure(since_s) > 0
    assert life.pose(since_s, since_s, resting=False).closure == 0


def test_a_blink_that_has_begun_ends_and_none_begins_before_a_word(life: WarpLife) -> None:
    begun_s, length_s = blink_after(20)
    life.pose(begun_s - 1, begun_s - 1, resting=False)
    begun = life.pose(begun_s + 0.3 * length_s, begun_s - 1, resting=False)
    assert begun.closure > 0.9
    assert life.pose(begun_s + 0.6 * length_s, begun_s - 1, resting=True).closure > 0.1
    next_s, length_s = blink_after(begun_s + 0.3)
    assert life.pose(next_s + length_s / 3, begun_s - 1, resting=True).closure == 0


class Silences:
    """Draws clips of two pictures, whose levels count on; notes what each began with."""

    def __init__(self) -> None:
        self.openings: list[Picture | None] = []
        self.drawn = 0

    async def clips(self, opening: Picture | None) -> AsyncIterator[Clip]:
        self.openings.append(opening)
        levels = np.arange(self.drawn, self.drawn + 2, dtype=np.uint8)
        self.drawn += 2
        yield Clip(0, 0, np.broadcast_to(levels[:, None, None, None], (2, 1, 1, 3)))


@pytest.mark.parametrize("continues", [False, True])
async def test_silence_goes_on_and_waits_while_enough_pictures_do(continues: bool) -> None:
    silences, told = Silences(), list[int]()
    life = SilenceLife(silences.clips, Retiming(), 3, lambda: told.append(1))
    opening = np.full((1, 1, 3), 99, np.uint8) if continues else None
    drawing = asyncio.create_task(life.draw(opening, continues=continues))
    for _ in range(20):
        await asyncio.sleep(0)
    assert (silences.drawn, len(told)) == (4, 3)
    shown: list[int] = []
    while len(shown) < 6:
        assert life.is_ready
        shown.append(int((await life.picture(0, 0, resting=False, listening=True))[0, 0, 0]))
        for _ in range(5):
            await asyncio.sleep(0)
    assert shown == list(range(6))
    begun = [None if one is None else int(one[0, 0, 0]) for one in silences.openings]
    assert begun[:3] == ([99, 1, 3] if continues else [None] * 3)
    drawing.cancel()
