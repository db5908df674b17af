"""Whatever bytes are sent as sound: samples to be heard, or a refusal that names the field."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.audio.decoder import PcmDecoder
from server.audio.files import read_file
from server.audio.gate import gate
from server.audio.normalizer import RunningNormalizer
from server.audio.pcm import AudioFormat, SampleEncoding
from server.audio.resampler import Resampler
from server.errors import InvalidFieldError, LimitError
from tests.support.fuzzing import fuzzed, mutated
from tests.support.http import wav
from tests.support.serving import speech

TINY = float(np.finfo(np.float32).smallest_subnormal)
FLOATS = st.floats(width=32) | st.sampled_from([TINY, -TINY, 1e-38, 3.4e38, -0.0, 1.0])
ENCODINGS = st.sampled_from(["s16le", "f32le"])
FILES = {kind: wav(speech(1600), kind=kind) for kind in ("WAV", "FLAC")}


def hear(data: bytes, encoding: SampleEncoding, rate: int, channels: int) -> None:
    """Takes sound the whole way to what Wav2Vec2 hears."""
    decoder, resampler = PcmDecoder(AudioFormat(encoding, rate, channels)), Resampler(rate)
    half = len(data) // 2 // 16 * 16
    heard = [
        resampler.push(decoder.push(piece, field="audio.data"))
        for piece in (data[:half], data[half:])
        if piece
    ]
    decoder.finish()
    decoder.notices()
    samples = np.concatenate([*heard, resampler.finish()])
    assert np.isfinite(samples).all()
    assert np.isfinite(gate(samples)).all() if len(samples) else True
    assert np.isfinite(RunningNormalizer()(samples, 0)).all()


@fuzzed(100)
@given(
    data=st.binary(max_size=4000),
    encoding=ENCODINGS,
    rate=st.sampled_from([8_000, 11_025, 16_000, 48_000]),
    channels=st.sampled_from([1, 2]),
)
def test_any_bytes_are_heard_or_refused(
    data: bytes, encoding: SampleEncoding, rate: int, channels: int
) -> None:
    try:
        hear(data, encoding, rate, channels)
    except InvalidFieldError as error:
        assert error.field == "audio.data"  # noqa: PT017


@fuzzed(100)
@given(values=st.lists(FLOATS, min_size=1, max_size=400), channels=st.sampled_from([1, 2]))
def test_any_floats_are_heard_unless_they_are_none(values: list[float], channels: int) -> None:
    data = np.repeat(np.array(values, "<f4"), 2 * channels).tobytes()
    if np.isfinite(values).all():
        hear(data, "f32le", 16_000, channels)
    else:
        with pytest.raises(InvalidFieldError, match="NaN or infinity"):
            hear(data, "f32le", 16_000, channels)


@pytest.mark.parametrize("value", [TINY, -TINY, 1e-38, 3.4e38, -3.4e38])
def test_the_smallest_and_largest_floats_are_heard(value: float) -> None:
    hear(np.full(32_000, value, "<f4").tobytes(), "f32le", 16_000, 1)


@pytest.mark.parametrize("kind", FILES)
@fuzzed(100)
@given(data=st.data())
def test_any_file_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    sent = data.draw(mutated(FILES[kind]))
    try:
        stated, pcm = read_file(sent, longest_s=1, field="audio")
    except (InvalidFieldError, LimitError):
        return
    assert len(pcm) <= 48_000 * stated.bytes_per_sample
