"""What a conversation came to, on a clock that the test holds."""

import pytest

from server.sessions.report import UTTERANCES, Report


class HeldClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_media_is_what_was_delivered_not_what_was_received() -> None:
    clock = HeldClock()
    report = Report(16_000, clock)
    report.audio_received(0, 160_000)
    clock.now_s = 2.0
    for _ in range(25):
        report.frame_sent(0)
    assert report.audio_s == 10
    assert report.media_s == 1
    assert report.realtime_factor == 0.5


def test_playback_from_the_playable_moment_never_stalls_and_any_earlier_would() -> None:
    clock = HeldClock()
    report = Report(16_000, clock)
    report.audio_received(0, 1)
    arrivals = [0.9] * 12 + [2.1] * 28 + [3.0] * 28
    for clock.now_s in arrivals:
        report.frame_sent(0)
    late = [at_s - (report.playable_s + n / 25) for n, at_s in enumerate(arrivals)]
    assert max(late) == pytest.approx(0)
    assert report.first_frame_s == pytest.approx(0.9)


def test_each_utterance_is_played_from_its_own_first_audio() -> None:
    clock = HeldClock()
    report = Report(16_000, clock)
    report.audio_received(0, 1)
    clock.now_s = 0.5
    report.frame_sent(0)
    clock.now_s = 60.0
    report.audio_received(1, 1)
    clock.now_s = 60.7
    report.frame_sent(1)
    assert report.playable_s == pytest.approx(0.7)


def test_utterances_that_are_resumed_again_and_again_are_forgotten() -> None:
    clock = HeldClock()
    report = Report(16_000, clock)
    for number in range(5 * UTTERANCES):
        clock.now_s += 1.0
        report.audio_received(number, 1)
        report.frame_sent(number)
    # Sent after an interruption, of what was said long before.
    report.frame_sent(0)
    assert report.first_frame_s == 0
    assert report.wall_s == 5 * UTTERANCES - 1
    known = [of for of in vars(report).values() if isinstance(of, dict)]
    assert [len(of) for of in known] == [UTTERANCES, UTTERANCES]
