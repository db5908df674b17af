"""Files as people have them: every one ends in sound, or in a line that names it and the reason."""

import io
import os
import struct
import threading
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from client.demo.media import SPEECH
from echomimic_client.audio import read_audio
from echomimic_client.errors import AudioFileError

RATE = 16_000
TONE = 0.3 * np.sin(np.arange(RATE) * 0.1)


def written(form: str, subtype: str | None = None, rate: int = RATE) -> bytes:
    """A second of a tone, by libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, TONE, rate, subtype, format=form)
    return file.getvalue()


def encoded(form: str, codec: str, rate: int = RATE, *, film: bool = False) -> bytes:
    """A second of a tone, by FFmpeg; with a picture if it is a film."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "mono"
        if film:
            video = container.add_stream("libx264", rate=25)
            assert isinstance(video, av.VideoStream)
            video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(video.encode(picture))
            container.mux(video.encode(None))
        tone = 0.3 * np.sin(np.arange(rate) * 0.05).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        resampler = av.AudioResampler(stream.format, "mono", rate, stream.codec_context.frame_size)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return file.getvalue()


def wav(samples: np.ndarray, data_size: int, riff_size: int, after: bytes = b"") -> bytes:
    """A WAV file of 16 bits or of floats that states these sizes."""
    kind, width = (3, 4) if samples.dtype == np.float32 else (1, 2)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, 1, RATE, RATE * width, width, 8 * width)
    head = b"RIFF" + struct.pack("<I", riff_size) + b"WAVE" + form
    return head + b"data" + struct.pack("<I", data_size) + samples.tobytes() + after


def test_a_flac_that_does_not_tell_its_length_is_read_to_its_end() -> None:
    data = bytearray(written("FLAC"))
    data[21] &= 0xF0
    data[22:42] = bytes(20)
    assert read_audio(data).data == read_audio(written("FLAC")).data


def test_telephone_sound_is_read() -> None:
    assert read_audio(written("WAV", "GSM610", 8_000)).duration_s == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("riff_size", [0, 36, 0xFFFFFFFF])
@pytest.mark.parametrize("data_size", [0, 0xFFFFFFFF])
def test_a_wav_that_was_never_finished_is_read_to_its_end(riff_size: int, data_size: int) -> None:
    noise = np.random.default_rng(0).integers(-9000, 9000, RATE, dtype=np.int16)
    assert read_audio(wav(noise, data_size, riff_size)).data == noise.tobytes()


def test_a_wav_without_sound_is_not_filled_with_what_follows() -> None:
    comment = b"LIST" + struct.pack("<I", 4) + b"INFO"
    with pytest.raises(AudioFileError, match="holds no sound"):
        read_audio(wav(np.zeros(0, np.int16), 0, 48, comment))


JOINED = {
    "mp3": written("MP3"),
    "tagged mp3": encoded("mp3", "libmp3lame"),
    "ogg": written("OGG", "VORBIS"),
    "opus": written("OGG", "OPUS"),
    "flac": written("FLAC"),
    "wav": written("WAV", "PCM_16"),
    "rf64": written("RF64", "PCM_16"),
    "w64": written("W64", "PCM_16"),
    "aiff": written("AIFF", "PCM_16"),
    "au": written("AU", "PCM_16"),
    "caf": written("CAF", "PCM_16"),
    "m4a": encoded("ipod", "aac"),
    "webm": encoded("webm", "libopus", 48_000),
}


@pytest.mark.parametrize("kind", JOINED)
def test_joined_files_are_read_to_the_end(kind: str) -> None:
    data = JOINED[kind]
    once = read_audio(data)
    assert read_audio(3 * data).samples == 3 * once.samples


def test_an_mp3_that_tells_its_length_may_be_followed_by_one_that_does_not() -> None:
    data = written("MP3")
    start = next(n for n in range(200, len(data)) if data[n : n + 2] == data[:2])
    plain = data[start:]
    first, second = read_audio(data), read_audio(plain)
    assert read_audio(data + plain).samples == pytest.approx(
        first.samples + second.samples, abs=2_500
    )
    assert read_audio(data + b"TAG" + bytes(125)).data == first.data


CONTAINERS = {
    "m4a": ("ipod", "aac", RATE, False),
    "aac": ("adts", "aac", RATE, False),
    "webm": ("webm", "libopus", 48_000, False),
    "3gp": ("3gp", "aac", 8_000, False),
    "mov": ("mov", "aac", RATE, True),
    "mp4": ("mp4", "aac", RATE, True),
    "mkv": ("matroska", "aac", RATE, True),
}


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_what_phones_and_browsers_record_is_read(tmp_path: Path, suffix: str) -> None:
    form, codec, rate, film = CONTAINERS[suffix]
    path = tmp_path / f"speech.{suffix}"
    path.write_bytes(encoded(form, codec, rate, film=film))
    read = read_audio(path)
    assert read.format.sample_rate_hz == rate
    assert read.duration_s == pytest.approx(1.0, abs=0.2)
    assert np.abs(read.mono()[2_000:-4_000]).max() == pytest.approx(0.3, abs=0.05)


def test_without_the_extra_the_line_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echomimic_client.decoding.find_spec", lambda _: None)
    path = tmp_path / "speech.m4a"
    path.write_bytes(encoded("ipod", "aac"))
    with pytest.raises(AudioFileError, match=r"speech\.m4a: .* extra `mp4`"):
        read_audio(path)


def test_a_film_without_sound_is_named(tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux(video.encode(picture))
        container.mux(video.encode(None))
    with pytest.raises(AudioFileError, match=r"silent\.mp4 holds no sound"):
        read_audio(path)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_what_is_no_number_is_said_where_the_file_is_read(tmp_path: Path, odd: float) -> None:
    samples = np.zeros(100, np.float32)
    samples[[7, 9]] = odd
    path = tmp_path / "broken.wav"
    path.write_bytes(wav(samples, 400, 436))
    with pytest.raises(AudioFileError, match=r"broken\.wav: 2 samples .* the first is 7"):
        read_audio(path)


def test_a_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(SPEECH.read_bytes()))
    writer.start()
    assert read_audio(pipe) == read_audio(SPEECH)
    writer.join()


@pytest.mark.parametrize("kind", [*JOINED, "garbage", "head", "nothing"])
def test_a_file_cut_anywhere_is_sound_or_a_line(kind: str) -> None:
    others = {"garbage": bytes(range(256)) * 9, "head": b"OggS", "nothing": b"\0"}
    data = others.get(kind) or JOINED[kind]
    for end in {0, *np.linspace(1, len(data), 25, dtype=int).tolist()}:
        line = None
        try:
            assert read_audio(data[:end]).samples > 0
        except AudioFileError as error:
            line = str(error)
        assert line is None or (line.startswith("the audio") and "\n" not in line)
