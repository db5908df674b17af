"""Speech to features: normalisation, interpolation, neighbours."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from server.animation.features import RunningNormalizer
from server.audio.frame_rate import conv_frames, frame_neighbours, interpolation


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 400), frames=st.integers(1, 200))
def test_interpolation_is_torchs_with_aligned_corners(length: int, frames: int) -> None:
    vectors = np.random.default_rng(length).standard_normal((length, 3)).astype(np.float32)
    low, high, weight = interpolation(length, frames)
    ours = vectors[low] + weight[:, None] * (vectors[high] - vectors[low])
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(vectors.T)[None], size=frames, mode="linear", align_corners=True
    )[0].T.numpy()
    np.testing.assert_allclose(ours, theirs, atol=2e-4)
    assert (low >= 0).all()
    assert (high < length).all()


@pytest.mark.parametrize("samples", [400, 401, 719, 720, 16_000, 48_123])
def test_conv_frames_is_what_wav2vec2_makes(samples: int) -> None:
    waveform = torch.zeros(1, 1, samples)
    for kernel, stride in zip((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), strict=True):
        waveform = torch.nn.functional.conv1d(waveform, torch.ones(1, 1, kernel), stride=stride)
    assert conv_frames(samples) == waveform.shape[-1]


def test_neighbours_are_clamped_at_both_ends() -> None:
    neighbours = frame_neighbours(start=0, frames=4, total=4)
    assert neighbours.tolist() == [
        [0, 0, 0, 1, 2],
        [0, 0, 1, 2, 3],
        [0, 1, 2, 3, 3],
        [1, 2, 3, 3, 3],
    ]


def test_neighbours_reach_into_the_context() -> None:
    assert frame_neighbours(start=3, frames=1, total=9).tolist() == [[1, 2, 3, 4, 5]]


def test_one_piece_is_normalised_as_the_authors_do_a_file() -> None:
    samples = np.random.default_rng(0).normal(0.1, 0.2, 5_000).astype(np.float32)
    expected = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    np.testing.assert_allclose(RunningNormalizer()(samples, 0), expected, atol=1e-5)


def test_normalisation_remembers_what_came_before() -> None:
    samples = np.random.default_rng(0).normal(0, 0.2, 9_000).astype(np.float32)
    samples[6_000:] *= 0.01
    normalize = RunningNormalizer()
    normalize(samples[:6_000], 0)
    # The second piece overlaps the first, which counts once.
    quiet = normalize(samples[4_000:], 4_000)
    expected = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    np.testing.assert_allclose(quiet, expected[4_000:], atol=1e-5)
    assert np.abs(quiet[2_000:]).max() < 0.1


def test_silence_stays_silent() -> None:
    hiss = np.random.default_rng(0).normal(0, 1e-5, 5_000).astype(np.float32)
    assert np.abs(RunningNormalizer()(hiss, 0)).max() < 0.1
