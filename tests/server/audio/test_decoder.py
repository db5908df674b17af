"""PCM bytes to mono floats, and what is noticed on the way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from server.audio.decoder import PcmDecoder
from server.audio.pcm import AudioFormat, Samples
from server.errors import InvalidFieldError

RATE = 8_000
FLOATS, INTEGERS = AudioFormat("f32le", RATE, 1), AudioFormat("s16le", RATE, 1)
STEREO = AudioFormat("f32le", RATE, 2)


def decode(values: ArrayLike, audio_format: AudioFormat, chunks: tuple[int, ...] = ()) -> Samples:
    return listen(values, audio_format, chunks)[0]


def reasons(values: ArrayLike, audio_format: AudioFormat) -> list[str]:
    return [reason for reason, _ in listen(values, audio_format)[1]]


def listen(
    values: ArrayLike, audio_format: AudioFormat, chunks: tuple[int, ...] = ()
) -> tuple[Samples, list[tuple[str, str]]]:
    """Returns the mono samples and the notices, for interleaved values sent in some chunks."""
    data = np.asarray(values, "<i2" if audio_format.encoding == "s16le" else "<f4").tobytes()
    decoder = PcmDecoder(audio_format)
    cuts = np.cumsum([0, *chunks]) * audio_format.bytes_per_sample
    pieces = [data[a:b] for a, b in zip(cuts, [*cuts[1:], None], strict=True)]
    mono = [decoder.push(piece, field="audio") for piece in pieces if piece]
    decoder.finish()
    notices = [(notice.reason, notice.message) for notice in decoder.notices()]
    assert decoder.notices() == ()
    return np.concatenate(mono), notices


def tone(seconds: float = 1.0, amplitude: float = 0.5) -> Samples:
    time_s = np.arange(round(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * 300 * time_s)).astype(np.float32)


def stereo(left: Samples, right: Samples) -> Samples:
    return np.stack([left, right], axis=1)


def test_s16_is_scaled_to_one() -> None:
    assert decode([0, 16384, -32768], INTEGERS).tolist() == [0, 0.5, -1]


def test_two_channels_are_averaged() -> None:
    np.testing.assert_allclose(decode([0.2, 0.4, -1, 1], STEREO), [0.3, 0], atol=1e-7)


def test_floats_beyond_full_scale_are_clipped() -> None:
    assert decode([3e38, -2], FLOATS).tolist() == [1, -1]


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
        PcmDecoder(audio_format).push(bytes(length), field="audio.data")


def test_a_file_is_refused_however_it_is_cut() -> None:
    decoder = PcmDecoder(INTEGERS)
    data = b"fLaC\x00\x00\x00\x22" + bytes(34)
    for at in range(0, 6, 2):
        decoder.push(data[at : at + 2], field="audio.data")
    with pytest.raises(InvalidFieldError, match=r"audio\.data: holds a FLAC file"):
        decoder.push(data[6:8], field="audio.data")


def test_floats_in_the_range_of_integers_are_told_with_the_remedy() -> None:
    ((reason, message),) = listen(tone(amplitude=9_000), FLOATS)[1]
    assert reason == "AUDIO_CLIPPED"
    assert "divide them by 32768" in message


@pytest.mark.parametrize("audio_format", [FLOATS, INTEGERS])
def test_speech_far_too_loud_is_told_once_with_the_share(audio_format: AudioFormat) -> None:
    loud = np.clip(tone(3.5, amplitude=1) * 20, -1, 1)
    values = np.rint(loud * 32767) if audio_format is INTEGERS else loud
    ((reason, message),) = listen(values, audio_format)[1]
    assert reason == "AUDIO_CLIPPED"
    # Of a sine twenty times too large, all is beyond full scale but near where it crosses zero.
    share = 100 * float((np.abs(tone(1, amplitude=1) * 20) >= 1).mean())
    assert message.startswith(f"{share:.0f} % of the samples")
    assert 90 < share < 100
    assert "quieter" in message


def test_a_short_utterance_is_judged_at_its_end() -> None:
    assert reasons(tone(0.1, amplitude=3), FLOATS) == ["AUDIO_CLIPPED"]


def test_peaks_are_no_clipping() -> None:
    peaks = tone(2, amplitude=0.9)
    peaks[::200] = 1.2
    assert reasons(peaks, FLOATS) == []


def test_opposite_channels_are_told_and_heard() -> None:
    mono, notices = listen(stereo(tone(), -tone()), STEREO)
    assert [reason for reason, _ in notices] == ["AUDIO_OPPOSITE_PHASE"]
    np.testing.assert_allclose(mono[RATE // 10 :], tone()[RATE // 10 :], atol=1e-6)


def test_nearly_opposite_channels_are_heard() -> None:
    left = tone() + np.random.default_rng(0).normal(0, 0.02, RATE).astype(np.float32)
    assert decode(stereo(left, -0.9 * tone()), STEREO).std() > 0.3


@pytest.mark.parametrize("seed", range(3))
def test_channels_that_differ_are_no_opposites(seed: int) -> None:
    left, right = np.random.default_rng(seed).normal(0, 0.1, (2, RATE)).astype(np.float32)
    both = stereo(left, right)
    mono, notices = listen(both, STEREO)
    assert notices == []
    np.testing.assert_array_equal(mono, both.mean(axis=1, dtype=np.float32))


def test_one_empty_channel_is_no_opposite() -> None:
    assert reasons(stereo(tone(), 0 * tone()), STEREO) == []


def test_quiet_noise_tells_nothing_of_the_phase() -> None:
    hiss = tone(amplitude=5e-4)
    assert reasons(stereo(hiss, -hiss), STEREO) == []


def test_channels_that_turn_round_never_fall_silent_for_long_and_do_not_click() -> None:
    sound = tone(9)
    turned = np.repeat([1, -1, 1], 3 * RATE).astype(np.float32)
    mono = decode(stereo(sound, turned * sound), STEREO)
    rms = np.sqrt(np.square(mono.reshape(-1, RATE // 2)).mean(axis=1))
    assert (rms > 0.1).sum() >= 12
    assert rms[-2:] == pytest.approx(0.5 / np.sqrt(2), rel=0.01)
    inside = np.abs(np.diff(mono)).max()
    assert inside <= 1.1 * np.abs(np.diff(sound)).max()


@settings(max_examples=50, deadline=None)
@given(chunks=st.lists(st.integers(1, 5_000), max_size=20), seed=st.integers(0, 99))
def test_nothing_depends_on_the_chunking(chunks: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    sound = tone(5, amplitude=float(random.uniform(0.1, 2)))
    other = sound * np.repeat(random.choice([-1, 1, 0.5], 10), RATE // 2).astype(np.float32)
    whole = listen(stereo(sound, other), STEREO)
    cut = listen(stereo(sound, other), STEREO, tuple(chunks))
    np.testing.assert_array_equal(cut[0], whole[0])
    assert sorted(cut[1]) == sorted(whole[1])
