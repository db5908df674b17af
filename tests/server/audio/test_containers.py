"""Files are told from PCM by how they begin, and PCM is never taken for a file."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from server.audio.containers import LOOKED_AT_BYTES, container_of, refuse_container
from server.errors import InvalidFieldError
from tests.support.noises import NOISES, noise
from tests.support.paths import ROOT

RATE = 16_000

BY_SOUNDFILE = [
    ("WAV", "PCM_16", "a WAV file"),
    ("WAV", "FLOAT", "a WAV file"),
    ("WAVEX", "PCM_24", "a WAV file"),
    ("RF64", "PCM_16", "a WAV file"),
    ("W64", "PCM_16", "a Wave64 file"),
    ("AIFF", "PCM_16", "an AIFF file"),
    ("CAF", "PCM_16", "a CAF file"),
    ("AU", "PCM_16", "an AU file"),
    ("FLAC", "PCM_16", "a FLAC file"),
    ("OGG", "VORBIS", "an Ogg file"),
    ("OGG", "OPUS", "an Ogg file"),
    ("MP3", "MPEG_LAYER_III", "an MP3 file"),
]
BY_AV = [
    ("mp3", "mp3", "an MP3 file"),
    ("mp2", "mp2", "an MP3 file"),
    ("adts", "aac", "an AAC file"),
    ("mp4", "aac", "an MP4 or M4A file"),
    ("ipod", "aac", "an MP4 or M4A file"),
    ("mov", "aac", "an MP4 or M4A file"),
    ("3gp", "aac", "an MP4 or M4A file"),
    ("webm", "libopus", "a WebM or Matroska file"),
    ("matroska", "mp3", "a WebM or Matroska file"),
    ("avi", "mp3", "an AVI file"),
    ("asf", "wmav2", "a WMA file"),
]


def sound() -> np.ndarray:
    return noise("pink", 2 * RATE, -20)


def by_soundfile(kind: str, subtype: str, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound(), rate, format=kind, subtype=subtype)
    return file.getvalue()


def by_av(kind: str, codec: str, rate: int = 48_000, bit_rate: int = 128_000) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate, stream.layout, stream.time_base = bit_rate, "mono", Fraction(1, rate)
        samples = np.rint(sound() * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.format, "mono", rate, stream.frame_size or None)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(("kind", "subtype", "name"), BY_SOUNDFILE)
def test_files_of_libsndfile_are_told(kind: str, subtype: str, name: str) -> None:
    assert container_of(by_soundfile(kind, subtype)) == name


@pytest.mark.parametrize(("kind", "codec", "name"), BY_AV)
def test_files_of_ffmpeg_are_told(kind: str, codec: str, name: str) -> None:
    assert container_of(by_av(kind, codec)) == name


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("bit_rate", [32_000, 64_000, 160_000])
def test_mp3_is_told_without_a_tag_at_any_rate(rate: int, bit_rate: int) -> None:
    tagged = by_av("mp3", "mp3", rate, bit_rate)
    assert tagged[:3] == b"ID3"
    size = sum(byte << shift for byte, shift in zip(tagged[6:10], (21, 14, 7, 0), strict=True))
    bare = tagged[10 + size :]
    assert bare[0] == 0xFF
    assert container_of(bare[:LOOKED_AT_BYTES]) == "an MP3 file"


@pytest.mark.parametrize("begins", [b"#!AMR\n", b"#!AMR-WB\n", b"MThd\x00\x00\x00\x06\x00\x01"])
def test_what_nobody_here_can_write_is_told_by_its_mark(begins: bytes) -> None:
    assert container_of(begins + bytes(100)) is not None


def test_the_refusal_of_a_wav_says_where_its_samples_begin() -> None:
    data = by_soundfile("WAV", "PCM_16", 44_100)
    at = data.index(b"data") + 8
    with pytest.raises(InvalidFieldError, match=rf"16-bit PCM at 44100 Hz on 1 .*byte {at}:"):
        refuse_container(data, "audio")


def test_the_refusal_of_an_extensible_wav_names_its_samples() -> None:
    with pytest.raises(InvalidFieldError, match="24-bit PCM at 16000 Hz"):
        refuse_container(by_soundfile("WAVEX", "PCM_24"), "audio")


@pytest.mark.parametrize("length", [12, 20, 30, 40])
def test_a_wav_cut_short_is_refused_all_the_same(length: int) -> None:
    with pytest.raises(InvalidFieldError, match=r"a WAV file, not PCM; .*`read_audio`"):
        refuse_container(by_soundfile("WAV", "PCM_16")[:length], "audio")


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), length=st.integers(0, LOOKED_AT_BYTES))
def test_random_bytes_are_no_file(seed: int, length: int) -> None:
    assert container_of(np.random.default_rng(seed).bytes(length)) is None


@pytest.mark.parametrize("begins", [b"", b"ID3", b"RIFF", b"\xff\xfb\x90\x64", b"\xff" * 4_000])
def test_a_mark_alone_is_no_file(begins: bytes) -> None:
    assert container_of(begins) is None
    assert container_of(begins + bytes(2_000)) is None


@settings(max_examples=200, deadline=None)
@given(
    mark=st.sampled_from([b"ID3", b"\xff\xfb", b"\xff\xf1", b"RIFF", b"OggS", b"fLaC", b"ftyp"]),
    seed=st.integers(0, 2**32),
)
def test_pcm_that_begins_like_a_mark_is_no_file(mark: bytes, seed: int) -> None:
    samples = np.random.default_rng(seed).normal(0, 3_000, 2_000).astype("<i2")
    assert container_of(mark + samples.tobytes()) is None


@pytest.mark.parametrize("kind", ["<i2", "<f4"])
@pytest.mark.parametrize("name", NOISES)
def test_noise_is_no_file(name: str, kind: str) -> None:
    for level_db in (-90, -50, -20, -3):
        full_scale = 32767 if kind == "<i2" else 1
        data = (noise(name, RATE, level_db) * full_scale).astype(kind).tobytes()
        for start in range(0, 4_000, 4):
            assert container_of(data[start : start + LOOKED_AT_BYTES]) is None


def test_speech_is_no_file_wherever_it_begins() -> None:
    samples, _ = soundfile.read(ROOT / "docs" / "media" / "speech.wav", dtype="int16")
    data = np.asarray(samples).tobytes()
    for start in range(0, len(data) - LOOKED_AT_BYTES, 50):
        assert container_of(data[start : start + LOOKED_AT_BYTES]) is None


def test_a_constant_is_no_file() -> None:
    for value in range(-32768, 32768, 5):
        assert container_of(np.full(2_000, value, "<i2").tobytes()) is None
