"""Windows, their conditions and how they are stitched."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from server import parts
from server.animation.cache import ByteCache
from server.animation.condition import fold_mask
from server.animation.stitch import Stitcher, cross_fade
from server.animation.windows import WindowSpec, shortened, windows
from server.audio.clock import Clock

SPEC = WindowSpec(ladder=(5, 9), overlap=2, audio_lookahead=0, audio_left_context=0)


def test_each_window_begins_with_the_last_frames_of_the_one_before() -> None:
    first, second, third = islice(windows(SPEC), 3)
    assert (first.start, first.end, first.overlap) == (0, 5, 0)
    assert (second.start, second.end, second.overlap) == (3, 12, 2)
    assert (third.start, third.end, third.overlap) == (10, 19, 2)


def test_windows_climb_the_ladder_and_stay_at_its_top() -> None:
    spec = replace(SPEC, ladder=(5, 9, 9, 17))
    cut = [(window.start, window.frames) for window in islice(windows(spec), 6)]
    assert cut == [(0, 5), (3, 9), (10, 9), (17, 17), (32, 17), (47, 17)]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(41, 33), (40, 33), (37, 33), (36, 29), (33, 29), (32, 25), (25, 21), (24, 17), (10, 17)],
)
def test_the_last_window_is_as_long_as_needed_but_not_too_short(frames: int, expected: int) -> None:
    spec = replace(SPEC, ladder=(9, 33))
    _, window = islice(windows(spec), 2)
    assert (window.start, window.end) == (7, 40)
    assert shortened(window, spec, frames) == replace(window, frames=expected)


@pytest.mark.parametrize("ladder", [(9,), (21, 33)])
def test_the_last_window_is_no_shorter_than_the_first(ladder: tuple[int, ...]) -> None:
    spec = replace(SPEC, ladder=ladder)
    for window in islice(windows(spec), 2):
        assert shortened(window, spec, window.start + 1).frames == spec.first


def pictures(count: int, value: int) -> np.ndarray:
    return np.full((count, 2, 2, 3), value, np.uint8)


async def test_every_frame_leaves_once_and_in_order() -> None:
    stitcher = Stitcher(overlap=2)
    leaving: list[int] = []
    for window in islice(windows(SPEC), 3):
        clip = await stitcher.add(window, pictures(window.frames, 10 * window.index))
        leaving += range(clip.start, clip.start + len(clip.pictures))
    held = stitcher.finish()
    assert held is not None
    leaving += range(held.start, held.start + len(held.pictures))
    assert leaving == list(range(19))


async def test_the_overlap_fades_from_before_to_after() -> None:
    faded = await cross_fade(pictures(3, 100), pictures(5, 200))
    assert faded[:, 0, 0, 0].tolist() == [100, 150, 200, 200, 200]


@pytest.mark.parametrize("threads", [1, 3])
async def test_fading_in_parts_is_fading_the_whole(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(parts, "THREADS", threads)
    monkeypatch.setattr(parts, "PART_BYTES", 1)
    random = np.random.default_rng(0)
    before, after = (random.integers(0, 256, (n, 8, 6, 3), np.uint8) for n in (3, 5))
    weights = np.linspace(0, 1, 3, dtype=np.float32)[:, None, None, None]
    expected = np.concatenate([np.rint(before * (1 - weights) + after[:3] * weights), after[3:]])
    np.testing.assert_array_equal(await cross_fade(before, after), expected)


async def test_the_next_window_is_told_what_was_held_back() -> None:
    stitcher = Stitcher(overlap=2)
    first = next(windows(SPEC))
    decoded = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((2, 2, 3), np.uint8)
    await stitcher.add(first, decoded)
    assert stitcher.held[:, 0, 0, 0].tolist() == [3, 4]


@pytest.mark.parametrize(
    ("known", "frames", "expected"),
    [
        (1, 9, [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]),
        (5, 9, [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]]),
        (7, 9, [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]]),
        (1, 1, [[1, 1, 1, 1]]),
    ],
)
def test_four_frames_fold_into_four_channels(
    known: int, frames: int, expected: list[list[int]]
) -> None:
    assert fold_mask(known, frames).T.tolist() == expected


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 47_999])
def test_an_hour_does_not_drift(rate: int) -> None:
    clock = Clock(rate)
    last = 25 * 3600 - 1
    assert abs(clock.first_sample(last) - last * rate / 25) < 1
    assert clock.frame_count(rate * 3600) == last + 1
    assert clock.frame_count(0) == 0
    assert clock.frame_count(1) == 1


async def test_the_cache_makes_once_and_forgets_the_oldest() -> None:
    made: list[str] = []
    cache = ByteCache(max_bytes=32)

    async def get(key: str) -> np.ndarray:
        async def make() -> np.ndarray:
            made.append(key)
            return np.zeros(4, np.float32)

        return await cache.get((key,), make)

    for key in ("a", "b", "a", "c", "a", "b"):
        await get(key)
    assert made == ["a", "b", "c", "b"]


async def test_what_is_cached_cannot_be_changed() -> None:
    async def make() -> np.ndarray:
        return np.zeros(4, np.float32)

    array = await ByteCache(max_bytes=32).get(("a",), make)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
