"""Other rates of frames than the model's, against a plain twin in fractions."""

from fractions import Fraction
from itertools import islice
from math import ceil, floor

import numpy as np
import pytest

from server.audio.clock import Clock, presentation_time_ns
from server.sessions.retiming import Retimer, Retiming, blended

RATES = [*map(Fraction, (8, 12, 15, 24, 25, 30)), Fraction(24_000, 1001), Fraction(30_000, 1001)]
NTSC = Fraction(30_000, 1001)


def pictures(count: int) -> list[np.ndarray]:
    return [np.full((2, 2, 3), 3 * number % 256, np.uint8) for number in range(count)]


def retimed(retiming: Retiming, count: int) -> list[tuple[int, np.ndarray]]:
    retimer, frames = Retimer(retiming), []
    for number, picture in enumerate(pictures(count)):
        frames.extend(retimer.add(number, picture))
    return [*frames, *retimer.finish()]


def plain(retiming: Retiming, count: int) -> list[np.ndarray]:
    """Frame by frame, each from its own time."""
    made, frames = pictures(count), []
    for n in range(ceil(count * retiming.frame_rate / 25)):
        position = n * 25 / retiming.frame_rate
        if retiming.blends:
            whole = floor(position)
            after = min(whole + 1, count - 1)
            frames.append(blended(made[whole], made[after], position - whole))
        else:
            frames.append(made[min(floor(position + Fraction(1, 2)), count - 1)])
    return frames


@pytest.mark.parametrize("rate", RATES, ids=str)
@pytest.mark.parametrize("blends", [False, True], ids=["nearest", "blended"])
@pytest.mark.parametrize("count", [1, 2, 7, 75])
def test_frames_are_those_of_the_plain_twin(rate: Fraction, blends: bool, count: int) -> None:
    retiming = Retiming(rate, blends)
    frames, expected = retimed(retiming, count), plain(retiming, count)
    assert [number for number, _ in frames] == list(range(len(expected)))
    for (_, picture), other in zip(frames, expected, strict=True):
        assert np.array_equal(picture, other)


@pytest.mark.parametrize("rate", RATES, ids=str)
@pytest.mark.parametrize("blends", [False, True], ids=["nearest", "blended"])
def test_the_first_frame_that_shows_a_picture_is_told(rate: Fraction, blends: bool) -> None:
    retiming = Retiming(rate, blends)

    def latest(frame: int) -> int:
        whole, part = retiming.shown(frame)
        return whole + (part > 0)

    for picture in range(60):
        first = next(n for n in range(200) if latest(n) >= picture)
        assert retiming.first_showing(picture) == first


def test_the_models_own_rate_leaves_every_picture_as_it_is() -> None:
    retimer = Retimer(Retiming())
    for number, picture in enumerate(pictures(5)):
        ((index, shown),) = retimer.add(number, picture)
        assert index == number
        assert shown is picture
    assert not list(retimer.finish())


def test_a_blend_is_rounded_to_a_level() -> None:
    one, other = np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)
    assert blended(one, other, Fraction(2, 3))[0, 0, 0] == 170
    assert blended(other, other, Fraction(1, 3))[0, 0, 0] == 255


@pytest.mark.parametrize("hertz", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("rate", RATES, ids=str)
def test_an_hour_has_no_drift(rate: Fraction, hertz: int) -> None:
    clock, retiming = Clock(hertz, rate), Retiming(rate)
    assert clock.frame_count(3600 * hertz) == ceil(3600 * rate)
    for frame in (*range(0, ceil(3600 * rate), 997), ceil(3600 * rate) - 1):
        exact_s = frame / rate
        assert 0 <= exact_s * hertz - clock.first_sample(frame) < 1
        assert 0 <= exact_s * 10**9 - presentation_time_ns(frame, rate) < 1
        shown, _ = retiming.shown(frame)
        assert abs(Fraction(shown, 25) - exact_s) <= Fraction(1, 50)


def test_an_hour_of_ntsc_has_its_frames() -> None:
    retimer = Retimer(Retiming(NTSC))
    picture = np.zeros((1, 1, 3), np.uint8)
    count = sum(1 for number in range(3600 * 25) for _ in retimer.add(number, picture))
    count += sum(1 for _ in retimer.finish())
    assert count == ceil(3600 * NTSC) == 107_893


def test_frames_are_made_as_soon_as_the_last_picture_that_they_show_is_there() -> None:
    retimer = Retimer(Retiming(Fraction(15), blends=True))
    one, other = pictures(2)
    assert [n for n, _ in retimer.add(0, one)] == [0]
    assert [n for n, _ in retimer.add(1, other)] == []
    assert [n for n, _ in islice(retimer.add(2, other), 2)] == [1]
