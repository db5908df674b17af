"""Where playback stands, by what was sent and what was reported."""

from fractions import Fraction

import pytest

from server.audio.clock import Clock
from server.errors import InvalidFieldError
from server.sessions.playback import MAX_RUNS, Playback

RATE = 16_000
FRAME = 640


class Room:
    """Sends utterances; frames count on."""

    def __init__(self, frame_rate: Fraction = Fraction(25)) -> None:
        self.clock = Clock(RATE, frame_rate)
        self.playback = Playback(self.clock)
        self.frames = 0
        self.samples = 0

    def says(self, samples: int, frames: int | None = None) -> None:
        """Sends the frames of an utterance, or its first ones."""
        count = self.clock.frame_count(samples)
        for number in range(count if frames is None else frames):
            end = min(samples, self.clock.first_sample(number + 1))
            self.playback.left(self.frames, number, self.samples, self.samples + end)
            self.frames += 1
        self.samples += samples

    def idles(self, frames: int) -> None:
        self.frames += frames

    def reports(self, index: int) -> int:
        self.playback.report(index, self.frames - 1, field="played.last_frame_index")
        return self.playback.sample


@pytest.fixture
def room() -> Room:
    return Room()


def test_whoever_reports_nothing_plays_what_is_sent(room: Room) -> None:
    room.says(10 * FRAME, 4)
    assert room.playback.sample == 4 * FRAME
    assert room.playback.last_played(3) == 3


def test_a_report_tells_where_playback_stands_whatever_was_sent(room: Room) -> None:
    room.idles(3)
    room.says(10 * FRAME + 1)
    room.idles(5)
    room.says(4 * FRAME)
    ends = [room.reports(index) for index in range(room.frames)]
    spoken = [FRAME * n for n in range(1, 11)]
    first = [0, 0, 0, *spoken, *[10 * FRAME + 1] * 6]
    assert ends == [*first, *(10 * FRAME + 1 + FRAME * n for n in range(1, 5))]
    assert room.playback.last_played(99) == room.frames - 1
    room.says(FRAME)
    assert room.playback.sample == ends[-1]


def test_samples_are_those_of_the_frame_rate() -> None:
    room = Room(Fraction(24_000, 1001))
    room.says(RATE)
    assert room.reports(6) == 7 * RATE * 1001 // 24_000
    assert room.reports(room.frames - 1) == RATE


@pytest.mark.parametrize("index", [-1, -(2**63), 5, 2**63 - 1])
def test_a_frame_that_was_not_sent_cannot_have_been_played(room: Room, index: int) -> None:
    room.says(5 * FRAME)
    with pytest.raises(InvalidFieldError, match=r"last_frame_index: .* frames 0 to 4 were sent"):
        room.reports(index)


def test_before_any_frame_none_can_be_reported(room: Room) -> None:
    with pytest.raises(InvalidFieldError, match="no frame was sent"):
        room.reports(0)


def test_playback_does_not_go_back(room: Room) -> None:
    room.says(5 * FRAME)
    assert room.reports(3) == room.reports(3) == 4 * FRAME
    with pytest.raises(InvalidFieldError, match="is 2 after 3"):
        room.reports(2)


def test_a_late_report_of_dropped_frames_moves_nothing(room: Room) -> None:
    room.says(20 * FRAME, 10)
    room.reports(3)
    room.playback.interrupted()
    room.playback.begin(4 * FRAME)
    assert room.reports(7) == 4 * FRAME


def test_utterances_in_great_number_are_forgotten_rather_than_guessed(room: Room) -> None:
    for _ in range(MAX_RUNS + 5):
        room.says(FRAME)
    assert room.reports(2) == 0
    assert room.reports(7) == 8 * FRAME


def test_a_report_of_what_was_forgotten_tells_what_is_sure(room: Room) -> None:
    for _ in range(20):
        room.says(FRAME)
    room.reports(19)
    for _ in range(MAX_RUNS + 5):
        room.says(FRAME)
    assert room.reports(21) <= 22 * FRAME
    assert room.playback.sample >= 19 * FRAME
    assert room.reports(30) == 31 * FRAME
