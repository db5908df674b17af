"""Any rate to 16 kHz."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.audio.pcm import Samples
from server.audio.resampler import Resampler


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
