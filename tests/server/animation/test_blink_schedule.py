"""When blinks are laid over speech: many minutes, in no time."""

from collections.abc import Collection
from itertools import pairwise

import numpy as np
import pytest

from server.animation.blink_schedule import (
    FORGETS_S,
    SOON_S,
    BlinkSchedule,
    Course,
    LastBlink,
)
from server.animation.idle_motion import BLINK_S

FRAME_S = 0.04
MINUTE = 1500
SEEDS = (0, 43, 2**64 - 1)


def laid(
    schedule: BlinkSchedule,
    frames: int,
    *,
    window: int = 28,
    shut: Collection[int] = (),
    begins_s: float = 0.0,
) -> list[Course | None]:
    """Asks for the blinks of an utterance, a window at a time."""
    courses: list[Course | None] = []
    for first in range(0, frames, window):
        length = min(window, frames - first)
        times_s = [begins_s + (first + n) * FRAME_S for n in range(length)]
        fitting = length if window >= schedule.longest else frames - first
        inside = {n - first for n in shut if first <= n < first + length}
        courses += schedule.courses(times_s, inside, range(fitting))
    return courses


def begun(courses: list[Course | None]) -> list[int]:
    """The frames in which blinks are first to be seen."""
    return [
        n for n, (before, now) in enumerate(pairwise([None, *courses])) if now and now != before
    ]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("window", [3, 7, 12, 28])
def test_every_minute_of_speech_has_12_to_20_blinks(seed: int, window: int) -> None:
    courses = laid(BlinkSchedule(seed, FRAME_S, LastBlink()), 10 * MINUTE, window=window)
    begins = np.array(begun(courses))
    for minute in range(10):
        assert 12 <= ((begins >= minute * MINUTE) & (begins < (minute + 1) * MINUTE)).sum() <= 20
    apart_s = np.diff(begins) * FRAME_S
    assert FORGETS_S - FRAME_S < apart_s.min() < apart_s.max() < 8
    assert apart_s.std() > 0.4


@pytest.mark.parametrize("window", [3, 7, 28])
def test_a_blink_is_whole(window: int) -> None:
    courses = laid(BlinkSchedule(43, FRAME_S, LastBlink()), 10 * MINUTE, window=window)
    for first in begun(courses):
        course = courses[first]
        assert course is not None
        shown = [n for n in range(first, first + 8) if courses[n] == course]
        assert shown == list(range(first, first + len(shown)))
        assert BLINK_S[0] <= course.length_s <= BLINK_S[1]
        times_s = [n * FRAME_S for n in (first - 1, *shown, shown[-1] + 1)]
        closed = [course.closure(at_s) for at_s in times_s]
        assert [closed[0], closed[-1]] == pytest.approx([0, 0], abs=1e-9)
        assert max(closed) > 0.8


def test_in_long_windows_a_blink_is_in_one() -> None:
    courses = laid(BlinkSchedule(43, FRAME_S, LastBlink()), 10 * MINUTE, window=28)
    for border in range(28, 10 * MINUTE, 28):
        assert courses[border] is None or courses[border] != courses[border - 1]


@pytest.mark.parametrize("every_s", [1.0, 2.0, 2.9])
def test_where_the_model_blinks_often_enough_none_is_laid(every_s: float) -> None:
    shut = {n for n in range(MINUTE) if n * FRAME_S % every_s < 0.12}
    assert begun(laid(BlinkSchedule(43, FRAME_S, LastBlink()), MINUTE, shut=shut)) == []


def test_none_is_laid_soon_before_or_after_one_of_the_models() -> None:
    shut = set(range(0, 10 * MINUTE, 190))
    begins = np.array(begun(laid(BlinkSchedule(43, FRAME_S, LastBlink()), 10 * MINUTE, shut=shut)))
    assert len(begins) > 40
    for own in shut:
        after_s = (begins - own) * FRAME_S
        assert not ((after_s > 0) & (after_s < FORGETS_S)).any()
    # Ahead only the rest of the window is known.
    ahead = {n for n in shut if n % 28 > 20}
    for own in ahead:
        before_s = (own - begins) * FRAME_S
        assert not ((before_s >= 0) & (before_s < min(SOON_S, 0.04 * (own % 28)))).any()


def test_a_blink_that_was_shown_while_nobody_spoke_counts() -> None:
    free = begun(laid(BlinkSchedule(43, FRAME_S, LastBlink()), 300, begins_s=60))
    blinked = LastBlink(60 + free[0] * FRAME_S - 1)
    begins = begun(laid(BlinkSchedule(43, FRAME_S, blinked), 300, begins_s=60))
    assert begins[0] * FRAME_S + 60 >= blinked.at_s + FORGETS_S - FRAME_S


def test_what_was_dropped_counts_no_more() -> None:
    schedule = BlinkSchedule(43, FRAME_S, LastBlink())
    planned = begun(laid(schedule, 300, begins_s=60))
    again = begun(laid(schedule, 300, begins_s=60))
    assert again == []
    schedule.forget()
    assert begun(laid(schedule, 300, begins_s=60)) == planned


def test_a_blink_begins_only_where_there_is_room_for_it() -> None:
    for first in range(1, 400):
        schedule = BlinkSchedule(43, FRAME_S, LastBlink())
        times_s = [60 + (first + n) * FRAME_S for n in range(20)]
        courses = schedule.courses(times_s, (), range(8, 16))
        assert not any(courses[:8] + courses[16:])


def test_a_seed_has_moments_of_its_own() -> None:
    one, same, other = (
        begun(laid(BlinkSchedule(seed, FRAME_S, LastBlink()), MINUTE)) for seed in (7, 7, 8)
    )
    assert one == same
    assert one != other
