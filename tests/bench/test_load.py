"""The load model, with times that the tests choose."""

import pytest

from tests.bench.load import (
    Arrival,
    Trace,
    continuous_share,
    frames_per_s,
    intervals_s,
    poisson_arrivals_s,
    spoken_at_s,
    stalled_s,
    unfairness,
)


def trace(*at_s: float, expected: int | None = None, lost: str = "", buffer_s: float = 0) -> Trace:
    arrivals = tuple(Arrival(moment, number / 25) for number, moment in enumerate(at_s))
    return Trace(len(at_s) if expected is None else expected, arrivals, buffer_s, lost=lost)


def test_a_chunk_is_sent_when_its_last_sample_has_been_spoken() -> None:
    assert spoken_at_s(3, 0.04) == pytest.approx([0.04, 0.08, 0.12])


def test_streams_open_at_the_same_random_moments_for_the_same_seed() -> None:
    moments_s = poisson_arrivals_s(2.0, 500.0, seed=1)
    assert moments_s == poisson_arrivals_s(2.0, 500.0, seed=1) == sorted(moments_s)
    assert moments_s != poisson_arrivals_s(2.0, 500.0, seed=2)
    assert 900 < len(moments_s) < 1100
    assert moments_s[0] > 0
    assert moments_s[-1] < 500


def test_a_player_whose_frames_come_in_time_never_stalls() -> None:
    assert stalled_s(trace(1.0, 1.04, 1.08)) == pytest.approx(0)
    assert continuous_share([trace(1.0, 1.04, 1.08)]) == pytest.approx(1)


def test_a_late_frame_delays_those_after_it_too() -> None:
    # The third comes 0.12 s after it is due; the fourth is then in time.
    late = trace(1.0, 1.04, 1.20, 1.24)
    assert stalled_s(late) == pytest.approx(0.12)
    assert continuous_share([late]) == pytest.approx(0.16 / 0.28)


def test_a_buffer_takes_up_a_stall() -> None:
    assert stalled_s(trace(1.0, 1.04, 1.20, 1.24, buffer_s=0.12)) == pytest.approx(0)


def test_what_a_lost_stream_does_not_show_counts_as_standing_still() -> None:
    whole, half = trace(1.0, 1.04), trace(1.0, expected=2, lost="INTERNAL")
    nothing = trace(expected=2, lost="RESOURCE_EXHAUSTED")
    assert continuous_share([whole, half]) == pytest.approx(0.75)
    assert continuous_share([whole, nothing]) == pytest.approx(0.5)
    assert nothing.first_frame_s is None
    assert half.finished_s is None


def test_a_stream_that_misses_frames_must_say_why() -> None:
    with pytest.raises(ValueError, match="was lost"):
        trace(1.0, expected=2)
    with pytest.raises(ValueError, match="2 frames came"):
        trace(1.0, 1.04, expected=1)


def test_the_rate_counts_all_frames_until_the_last_one() -> None:
    assert frames_per_s([trace(1.0, 2.0), trace(1.5, 4.0)]) == pytest.approx(1.0)
    assert frames_per_s([trace(expected=2, lost="gone")]) == 0


def test_unfairness_is_the_last_finish_over_the_mean() -> None:
    assert unfairness([trace(1.0), trace(3.0)]) == pytest.approx(1.5)
    assert unfairness([trace(1.0), trace(expected=1, lost="gone")]) is None


def test_intervals_are_those_between_frames() -> None:
    assert intervals_s(trace(1.0, 1.0, 1.5)) == pytest.approx([0, 0.5])
