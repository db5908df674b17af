"""Features to video frames: interpolation, neighbours."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from server.audio.frame_rate import conv_frames, heard_frames, interpolation


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
    assert heard_frames(start=0, frames=4, total=4).tolist() == [0, 0, 0, 1, 2, 3, 3, 3]


def test_neighbours_reach_into_the_context() -> None:
    assert heard_frames(start=3, frames=1, total=9).tolist() == [1, 2, 3, 4, 5]
