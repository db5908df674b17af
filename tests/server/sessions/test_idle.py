"""When idle frames are due, and how pictures go over to speech and back."""

import math
from fractions import Fraction

import numpy as np
import pytest

from server.pictures.portrait import Picture
from server.sessions.events import Blink, Frame
from server.sessions.idle import Coming, Idle

RATE = Fraction(25)


def grey(level: int) -> Picture:
    return np.full((2, 2, 3), level, np.uint8)


class Room:
    """A clock that is set by hand, and a life of one picture."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.awaiting = False
        self.is_ready = True
        self.asked: list[tuple[float, float, bool, bool]] = []
        self.idle = Idle(self, RATE, lambda: self.now_s, lambda: Coming(3, self.awaiting))

    async def picture(
        self, at_s: float, since_s: float, *, resting: bool, listening: bool
    ) -> Picture:
        self.asked.append((at_s, since_s, resting, listening))
        return grey(100)

    async def idles(self, index: int) -> int:
        """Sends an idle frame; returns its level."""
        return level(await self.idle.frame(index, 640))

    async def speaks(self, index: int) -> int:
        """Sends a frame of speech, which is black; returns its level."""
        return level(await self.idle.spoken(Frame(index, 2, 0, grey(0))))


@pytest.fixture
def room() -> Room:
    return Room()


def level(made: Frame) -> int:
    assert (made.picture == made.picture[0, 0, 0]).all()
    return int(made.picture[0, 0, 0])


async def test_frames_are_due_one_after_the_other(room: Room) -> None:
    assert [round(room.idle.due_s(index), 6) for index in range(3)] == [0, 0.04, 0.08]
    room.now_s += 0.04
    assert room.idle.due_s(1) == pytest.approx(0)


async def test_where_a_frame_leaves_late_later_ones_are_not_caught_up_with(room: Room) -> None:
    await room.idles(0)
    room.now_s += 5
    await room.idles(1)
    assert room.idle.due_s(2) == pytest.approx(0.04)


async def test_what_was_sent_ahead_is_played_before_an_idle_frame_is_due(room: Room) -> None:
    for index in range(50):
        await room.speaks(index)
    assert room.idle.due_s(50) == pytest.approx(2.0)


async def test_after_an_interruption_the_next_frame_is_due_at_once(room: Room) -> None:
    for index in range(50):
        await room.speaks(index)
    room.now_s += 0.5
    room.idle.interrupted(50)
    assert room.idle.due_s(50) == pytest.approx(0)
    await room.idles(50)
    assert room.idle.due_s(51) == pytest.approx(0.04)


async def test_no_frame_is_due_without_a_picture(room: Room) -> None:
    room.is_ready = False
    assert room.idle.due_s(0) == math.inf


async def test_a_life_is_told_the_time_since_when_and_what_to_do(room: Room) -> None:
    await room.idles(0)
    await room.speaks(1)
    await room.idles(2)
    room.awaiting = True
    await room.idles(3)
    room.idle.listens = True
    await room.idles(4)
    assert room.asked == [
        (0.0, 0.0, False, False),
        (0.08, 0.08, False, False),
        (0.12, 0.08, True, False),
        (0.16, 0.08, True, True),
    ]


async def test_pictures_fade_over_at_both_borders_and_are_themselves_elsewhere(room: Room) -> None:
    assert await room.speaks(0) == 0
    into_idle = [await room.idles(index) for index in range(1, 31)]
    assert into_idle == sorted(into_idle)
    assert max(np.diff([0, *into_idle])) <= 6
    assert into_idle[-1] == into_idle[20] == 100
    into_speech = [await room.speaks(n) for n in range(31, 41)]
    assert into_speech == sorted(into_speech, reverse=True)
    assert max(-np.diff([100, *into_speech])) <= 15
    assert into_speech[6:] == [0] * 4


async def test_the_first_frames_of_a_stream_are_not_faded(room: Room) -> None:
    assert await room.idles(0) == 100


async def test_a_fade_that_is_broken_off_goes_on_from_what_was_shown(room: Room) -> None:
    await room.speaks(0)
    shown = [await room.idles(index) for index in range(1, 8)]
    back = [await room.speaks(index) for index in range(8, 16)]
    assert 0 < back[0] < shown[-1] < 50
    assert back[-1] == 0


async def test_a_blink_goes_on_while_speech_is_faded_out(room: Room) -> None:
    asked: list[float] = []

    def later(later_s: float) -> Picture:
        asked.append(round(later_s, 6))
        return grey(20)

    await room.idle.spoken(Frame(0, 2, 0, grey(60), blink=Blink(grey(0), later)))
    shown = [await room.idles(index) for index in range(1, 4)]
    assert asked == [0.04, 0.08, 0.12]
    assert shown == [round(20 + 80 * n / 21) for n in (1, 2, 3)]
    # What is faded out next has none.
    await room.speaks(4)
    await room.idles(5)
    assert len(asked) == 3


async def test_a_picture_of_speech_is_not_held_on_to(room: Room) -> None:
    window = np.zeros((1, 2, 2, 3), np.uint8)
    await room.idle.spoken(Frame(0, 0, 0, window[0]))
    window[:] = 255
    assert await room.idles(1) < 20


async def test_an_idle_frame_belongs_to_what_is_said_next(room: Room) -> None:
    frame = await room.idle.frame(7, 640)
    assert (frame.index, frame.utterance_id, frame.audio_sample) == (7, 3, 640)
    assert frame.is_idle
