"""PCM to 16 kHz, and the timeline between what came in and what was used."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.audio.timeline import (
    AudioBudget,
    AudioFormat,
    AudioTimeline,
    Resampler,
    Samples,
    decode_pcm,
)
from server.errors import InvalidFieldError


def test_s16_is_scaled_to_one() -> None:
    data = np.array([0, 16384, -32768], "<i2").tobytes()
    samples = decode_pcm(data, AudioFormat("s16le", 16_000, 1), field="audio")
    assert samples.tolist() == [0, 0.5, -1]


def test_two_channels_are_averaged() -> None:
    data = np.array([0.2, 0.4, -1, 1], "<f4").tobytes()
    samples = decode_pcm(data, AudioFormat("f32le", 16_000, 2), field="audio")
    np.testing.assert_allclose(samples, [0.3, 0], atol=1e-7)


def test_floats_beyond_full_scale_are_clipped() -> None:
    data = np.array([3e38, -2], "<f4").tobytes()
    assert decode_pcm(data, AudioFormat("f32le", 8_000, 1), field="a").tolist() == [1, -1]


@pytest.mark.parametrize(
    ("audio_format", "length"),
    [
        (AudioFormat("s16le", 8_000, 1), 3),
        (AudioFormat("s16le", 8_000, 2), 6),
        (AudioFormat("f32le", 8_000, 1), 6),
    ],
)
def test_a_cut_sample_is_refused(audio_format: AudioFormat, length: int) -> None:
    with pytest.raises(InvalidFieldError, match="multiples of"):
        decode_pcm(bytes(length), audio_format, field="audio.data")


def resample(samples: Samples, rate: int, sizes: list[int]) -> Samples:
    resampler = Resampler(rate)
    pieces: list[Samples] = []
    position = 0
    for size in (*sizes, len(samples)):
        if len(piece := samples[position : position + size]):
            pieces.append(resampler.push(piece))
        position += size
    return np.concatenate([*pieces, resampler.finish()])


@settings(max_examples=50, deadline=None)
@given(
    rate=st.integers(8_000, 48_000),
    sizes=st.lists(st.integers(1, 3_000), max_size=20),
)
def test_resampling_does_not_depend_on_the_chunking(rate: int, sizes: list[int]) -> None:
    samples = np.random.default_rng(rate).standard_normal(9_000).astype(np.float32)
    whole = resample(samples, rate, [])
    np.testing.assert_array_equal(resample(samples, rate, sizes), whole)
    assert abs(len(whole) - len(samples) * 16_000 / rate) <= 1


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_a_tone_keeps_its_pitch(rate: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(resample(tone, rate, [])[:16_000]))
    assert spectrum.argmax() == 440


def ramp(start: int, count: int) -> Samples:
    return np.arange(start, start + count, dtype=np.float32)


async def test_the_timeline_gives_what_was_pushed() -> None:
    timeline = AudioTimeline(AudioBudget(100))
    await timeline.push(ramp(0, 30))
    await timeline.push(ramp(30, 30))
    assert (await timeline.take(0, 40)).tolist() == list(range(40))
    assert (await timeline.take(20, 60)).tolist() == list(range(20, 60))


async def test_the_timeline_does_not_go_back() -> None:
    timeline = AudioTimeline(AudioBudget(100))
    await timeline.push(ramp(0, 50))
    await timeline.take(20, 30)
    with pytest.raises(ValueError, match="is gone"):
        await timeline.take(10, 30)


async def test_taking_waits_for_the_audio_or_the_end() -> None:
    timeline = AudioTimeline(AudioBudget(100))
    taking = asyncio.create_task(timeline.take(0, 20))
    await timeline.push(ramp(0, 10))
    await asyncio.sleep(0)
    assert not taking.done()
    await timeline.finish(ramp(10, 5), length=15)
    assert (await taking).tolist() == list(range(15))


async def test_the_end_fills_the_last_frame_or_cuts_what_is_rounded_up() -> None:
    for pushed, length in [(10, 15), (16, 15)]:
        timeline = AudioTimeline(AudioBudget(100))
        await timeline.push(ramp(1, pushed))
        await timeline.finish(ramp(0, 0), length=length)
        samples = await timeline.take(0, 100)
        assert len(samples) == length
        assert samples[: min(pushed, length)].tolist() == ramp(1, min(pushed, length)).tolist()
        assert not samples[pushed:].any()


async def test_utterances_of_a_call_share_its_budget() -> None:
    budget = AudioBudget(20)
    first, second = AudioTimeline(budget), AudioTimeline(budget)
    await first.push(ramp(0, 15))
    await second.push(ramp(0, 10))
    pushing = asyncio.create_task(second.push(ramp(10, 1)))
    await asyncio.sleep(0)
    assert not pushing.done()
    first.drop()
    await pushing
    assert second.end == 11


async def test_pushing_waits_while_too_much_is_unused() -> None:
    timeline = AudioTimeline(AudioBudget(20))
    await timeline.push(ramp(0, 25))
    pushing = asyncio.create_task(timeline.push(ramp(25, 5)))
    await asyncio.sleep(0)
    assert not pushing.done()
    await timeline.take(0, 10)
    await pushing
    assert timeline.end == 30
