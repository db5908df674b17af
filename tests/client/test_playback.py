"""The delay after which playback never waits."""

import pytest

from echomimic_client.playback import playable_latency_s


def test_a_late_frame_late_in_the_film_decides() -> None:
    # Twelve frames at once after 1 s, and the next twelve 1.1 s later: 0.48 s were to be shown.
    arrivals = [(1.0, n / 25) for n in range(12)] + [(2.1, n / 25) for n in range(12, 24)]
    assert playable_latency_s(arrivals) == pytest.approx(2.1 - 12 / 25)


def test_frames_that_come_in_time_play_from_the_first() -> None:
    assert playable_latency_s((0.7 + n / 30, n / 25) for n in range(50)) == pytest.approx(0.7)
