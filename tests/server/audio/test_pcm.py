"""PCM bytes to mono floats."""

import numpy as np
import pytest

from server.audio.pcm import AudioFormat, decode_pcm
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
