"""Audio files, chunks and the pace of speaking."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from client.demo.media import PORTRAIT
from echomimic_client.audio import AudioFormat, read_audio
from echomimic_client.errors import AudioFileError
from echomimic_client.pacing import paced
from tests.support.speech_clips import RATE, SlowClock, clip


@pytest.mark.parametrize("chunk_ms", [1, 7, 40, 1_000, 10_000])
@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_chunks_lose_nothing_and_cut_no_sample(chunk_ms: int, rate: int, channels: int) -> None:
    speech = clip(9_999, rate, channels)
    chunks = list(speech.chunks(chunk_ms))
    assert b"".join(chunks) == speech.data
    assert {len(chunk) % (2 * channels) for chunk in chunks} == {0}
    assert {len(chunk) for chunk in chunks[:-1]} <= {rate * chunk_ms // 1000 * 2 * channels}


@pytest.mark.parametrize("samples", [1, 639, 640, 641, 16_000])
def test_a_clip_knows_its_frames(samples: int) -> None:
    assert clip(samples).frame_count == int(np.ceil(samples * 25 / RATE))


@pytest.mark.parametrize(("suffix", "subtype"), [("wav", "PCM_16"), ("flac", "PCM_16")])
def test_16_bit_files_are_read_exactly(tmp_path: Path, suffix: str, subtype: str) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32767, (5_000, 2), dtype=np.int16)
    path = tmp_path / f"speech.{suffix}"
    soundfile.write(path, samples, 11_025, subtype)
    read = read_audio(path)
    assert read.format == AudioFormat("s16le", 11_025, 2)
    assert read.data == samples.astype("<i2").tobytes()
    assert read.samples == 5_000
    assert read.mono() == pytest.approx(samples.mean(axis=1) / 32768, abs=1e-6)


def test_24_bit_files_are_read_exactly(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-(2**23), 2**23, 5_000) << 8
    soundfile.write(tmp_path / "speech.wav", samples.astype(np.int32), RATE, "PCM_24")
    read = read_audio(tmp_path / "speech.wav")
    assert read.format == AudioFormat("f32le", RATE, 1)
    assert read.mono().tolist() == (samples / 2**31).tolist()


@pytest.mark.parametrize(("suffix", "subtype"), [("mp3", "MPEG_LAYER_III"), ("ogg", "VORBIS")])
def test_compressed_files_are_read(tmp_path: Path, suffix: str, subtype: str) -> None:
    tone = 0.5 * np.sin(np.arange(2 * RATE) * 0.1)
    path = tmp_path / f"speech.{suffix}"
    soundfile.write(path, tone, RATE, subtype)
    read = read_audio(path)
    assert read.format == AudioFormat("f32le", RATE, 1)
    assert read.duration_s == pytest.approx(2.0, abs=0.1)
    assert np.abs(read.mono()).max() == pytest.approx(0.5, abs=0.05)


def test_many_channels_are_averaged(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, (1_000, 6)).astype(np.float32)
    soundfile.write(tmp_path / "speech.wav", samples, 48_000, "FLOAT")
    read = read_audio(tmp_path / "speech.wav")
    assert read.format == AudioFormat("f32le", 48_000, 1)
    assert read.mono() == pytest.approx(samples.mean(axis=1), abs=1e-6)


@pytest.mark.parametrize("rate", [4_000, 96_000])
def test_rates_that_the_server_does_not_take_are_named(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "speech.wav", np.zeros(100), rate)
    with pytest.raises(AudioFileError, match=f"{rate} samples a second"):
        read_audio(tmp_path / "speech.wav")


def test_files_that_hold_no_sound_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    with pytest.raises(AudioFileError, match="holds no sound"):
        read_audio(tmp_path / "empty.wav")
    with pytest.raises(AudioFileError, match=r"portrait\.png holds no sound"):
        read_audio(PORTRAIT)
    with pytest.raises(AudioFileError, match="No such file"):
        read_audio(tmp_path / "absent.wav")


def test_live_audio_keeps_the_pace_of_speaking_whatever_the_delays() -> None:
    speech, clock = clip(10 * RATE), SlowClock(delay_s=0.013)
    chunks, moments_s = [], []
    for chunk in paced(speech.chunks(40), speech.format, now=clock.now, sleep=clock.sleep):
        chunks.append(chunk)
        moments_s.append(clock.now_s - 100)
        clock.now_s += 0.005
    assert b"".join(chunks) == speech.data
    spoken_s = np.cumsum([len(chunk) for chunk in chunks]) / 2 / RATE
    assert moments_s == pytest.approx(spoken_s + 0.013)


def test_live_audio_catches_up_after_a_stall() -> None:
    speech, clock = clip(RATE), SlowClock(delay_s=0.0)
    moments_s = []
    for chunk in paced(speech.chunks(100), speech.format, now=clock.now, sleep=clock.sleep):
        moments_s.append(round(clock.now_s - 100, 3))
        clock.now_s += 0.25 if len(moments_s) == 2 else 0.0
        assert len(chunk) == 3200
    assert moments_s == [0.1, 0.2, 0.45, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
