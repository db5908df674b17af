"""When playback may start, and when each frame is due."""

from math import inf

import pytest

from echomimic_client.playback import PlayerClock, playable_latency_s


def test_a_late_frame_late_in_the_film_decides() -> None:
    # Twelve frames at once after 1 s, and the next twelve 1.1 s later: 0.48 s were to be shown.
    arrivals = [(1.0, n / 25) for n in range(12)] + [(2.1, n / 25) for n in range(12, 24)]
    assert playable_latency_s(arrivals) == pytest.approx(2.1 - 12 / 25)


def test_frames_that_come_in_time_play_from_the_first() -> None:
    assert playable_latency_s((0.7 + n / 30, n / 25) for n in range(50)) == pytest.approx(0.7)


FRAME_S = 1 / 25


class Player:
    """A clock, and the frames that it was told of, by their numbers."""

    def __init__(self, buffer_s: float) -> None:
        self.clock = PlayerClock(buffer_s, FRAME_S)
        self.frames = 0

    def gets(self, frames: int, at_s: float) -> None:
        for _ in range(frames):
            self.clock.add(self.frames * FRAME_S, at_s)
            self.frames += 1

    def due_s(self, frame: int) -> float:
        return self.clock.due_s(frame * FRAME_S)


def test_playback_waits_for_the_buffer_and_then_shows_each_frame_at_its_time() -> None:
    player = Player(buffer_s=1)
    player.gets(24, at_s=10)
    assert player.due_s(0) == inf
    assert player.clock.is_filling
    assert player.clock.level_s(10) == pytest.approx(0.96)
    player.gets(1, at_s=12)
    assert [player.due_s(n) for n in (0, 1, 24)] == pytest.approx([12, 12.04, 12.96])
    assert player.clock.level_s(12.5) == pytest.approx(0.5)
    assert not player.clock.is_filling


def test_an_utterance_shorter_than_the_buffer_is_played_once_it_is_all_there() -> None:
    player = Player(buffer_s=1)
    player.gets(5, at_s=10)
    player.clock.complete(11)
    assert player.due_s(0) == 11


def test_without_a_buffer_the_first_frame_is_due_at_once() -> None:
    player = Player(buffer_s=0)
    player.gets(1, at_s=10)
    assert player.due_s(0) == 10


def test_after_an_underrun_playback_waits_for_the_buffer_again_and_nothing_is_dropped() -> None:
    player = Player(buffer_s=1)
    player.gets(25, at_s=10)
    player.clock.look(10.99)
    assert player.clock.underruns == 0
    for _ in range(2):
        player.clock.look(11)
        assert (player.clock.underruns, player.clock.is_filling) == (1, True)
    player.gets(24, at_s=12)
    assert player.due_s(25) == inf
    player.gets(1, at_s=13)
    # Frames before it are past, whenever somebody asks.
    assert player.due_s(24) == -inf
    assert [player.due_s(n) for n in (25, 26)] == pytest.approx([13, 13.04])


def test_a_frame_that_comes_late_tells_of_the_underrun_by_itself() -> None:
    player = Player(buffer_s=1)
    player.gets(25, at_s=10)
    player.gets(1, at_s=11.01)
    assert player.clock.underruns == 1
    assert player.due_s(25) == inf


def test_the_end_of_an_utterance_is_no_underrun_and_the_next_one_fills_anew() -> None:
    player = Player(buffer_s=1)
    player.gets(5, at_s=10)
    player.clock.complete(10)
    player.clock.look(10.2)
    assert not player.clock.is_playing
    assert not player.clock.is_filling
    player.gets(24, at_s=20)
    assert player.due_s(5) == inf
    player.gets(1, at_s=21)
    assert player.due_s(5) == 21
    assert player.clock.underruns == 0


def test_an_utterance_that_is_there_by_the_end_of_another_follows_without_a_pause() -> None:
    player = Player(buffer_s=1)
    player.gets(5, at_s=10)
    player.clock.complete(10)
    player.gets(1, at_s=10.1)
    assert player.due_s(5) == pytest.approx(10.2)


def test_what_is_dropped_is_not_waited_for() -> None:
    player = Player(buffer_s=1)
    player.gets(25, at_s=10)
    player.clock.drop()
    assert player.clock.level_s(10.5) == 0
    player.clock.look(12)
    player.gets(25, at_s=20)
    assert player.due_s(25) == 20
    assert player.clock.underruns == 0


@pytest.mark.parametrize("speed", [0.5, 0.9, 1.0, 3.0])
def test_each_frame_is_shown_once_in_order_and_only_a_slow_server_runs_dry(speed: float) -> None:
    clock = PlayerClock(1.0, FRAME_S)
    shown: list[float] = []
    waiting: list[float] = []
    # A hundredth of a second at a time, for 10 s of frames made at some speed.
    made = 0
    for hundredth in range(2_500):
        now_s = hundredth / 100
        while made < 250 and made * FRAME_S <= now_s * speed:
            clock.add(made * FRAME_S, now_s)
            waiting.append(made * FRAME_S)
            made += 1
            if made == 250:
                clock.complete(now_s)
        clock.look(now_s)
        while waiting and clock.due_s(waiting[0]) <= now_s:
            shown.append(waiting.pop(0))
    assert shown == [n * FRAME_S for n in range(250)]
    assert (clock.underruns > 0) == (speed < 1)
