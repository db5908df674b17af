"""Audio files to PCM: file -> AudioClip -> chunks."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from echomimic_client.decoding import Sound, decode
from echomimic_client.errors import AudioFileError

FRAME_RATE = 25
"""Frames a second that the server makes: the model's own rate."""
MIN_SAMPLE_RATE_HZ, MAX_SAMPLE_RATE_HZ = 8_000, 48_000
"""What the server takes."""
MAX_CHANNELS = 2

Bytes = bytes | bytearray | memoryview
SampleEncoding = Literal["s16le", "f32le"]
_DTYPES: dict[SampleEncoding, np.dtype] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}
_FULL_SCALE: dict[SampleEncoding, float] = {"s16le": 32768.0, "f32le": 1.0}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How PCM bytes are to be read; channels are interleaved."""

    encoding: SampleEncoding
    sample_rate_hz: int
    channels: int = 1

    @property
    def dtype(self) -> np.dtype:
        """How NumPy calls a sample."""
        return _DTYPES[self.encoding]

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of one sample of every channel."""
        return self.dtype.itemsize * self.channels


@dataclass(frozen=True, slots=True)
class AudioClip:
    """A complete piece of speech, PCM."""

    format: AudioFormat
    data: bytes

    @property
    def samples(self) -> int:
        """Samples of one channel."""
        return len(self.data) // self.format.bytes_per_sample

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples / self.format.sample_rate_hz

    @property
    def frame_count(self) -> int:
        """Video frames that the server makes of it: ceil(samples * 25 / rate)."""
        return -(-self.samples * FRAME_RATE // self.format.sample_rate_hz)

    def frames_at(self, frame_rate: Fraction) -> int:
        """Returns how many video frames of a rate it takes; 0 is the model's own rate."""
        return math.ceil(self.samples * (frame_rate or FRAME_RATE) / self.format.sample_rate_hz)

    def chunks(self, chunk_ms: int) -> Iterator[bytes]:
        """Yields the data in pieces of ``chunk_ms`` milliseconds, the last one shorter."""
        samples = max(1, self.format.sample_rate_hz * chunk_ms // 1000)
        step = samples * self.format.bytes_per_sample
        for start in range(0, len(self.data), step):
            yield self.data[start : start + step]

    def mono(self) -> NDArray[np.float32]:
        """Returns the channels' average [samples] in [-1, 1]."""
        encoding = self.format.encoding
        interleaved = np.frombuffer(self.data, _DTYPES[encoding]) / np.float32(
            _FULL_SCALE[encoding]
        )
        averaged = interleaved.reshape(-1, self.format.channels).mean(axis=1)
        return np.clip(averaged, -1, 1)


def read_audio(source: str | os.PathLike[str] | Bytes) -> AudioClip:
    """Reads a sound file at its own rate; more than two channels are averaged.

    WAV, FLAC, OGG and MP3 always; M4A, AAC, WebM and the sound of videos with the extra `mp4`. What
    cannot be sought in, as a pipe, is read to its end first.

    Args:
        source: the file's path, or its bytes.

    Raises:
        AudioFileError: it is no such file, is empty, holds what is no number, or has a rate that
            the server does not take.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return _clip(decode(bytes(source), "the audio"), "the audio")
    path = Path(source)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AudioFileError(f"{path}: {error.strerror}") from error
    return _clip(decode(data, str(path)), str(path))


def _clip(sound: Sound, name: str) -> AudioClip:
    samples, rate = sound.samples, sound.sample_rate_hz
    if not MIN_SAMPLE_RATE_HZ <= rate <= MAX_SAMPLE_RATE_HZ:
        raise AudioFileError(
            f"{name} has {rate} samples a second; convert it to "
            f"{MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ}"
        )
    if not len(samples):
        raise AudioFileError(f"{name} holds no sound")
    odd = np.flatnonzero(~np.isfinite(samples).all(axis=1))
    if len(odd):
        raise AudioFileError(
            f"{name}: {len(odd)} samples are no finite numbers, the first is {odd[0]}"
        )
    if samples.shape[1] > MAX_CHANNELS:
        full_scale = 32768 if samples.dtype == np.int16 else 1
        samples = samples.mean(axis=1, dtype=np.float32, keepdims=True) / np.float32(full_scale)
    encoding: SampleEncoding = "s16le" if samples.dtype == np.int16 else "f32le"
    data = samples.astype(_DTYPES[encoding]).tobytes()
    return AudioClip(AudioFormat(encoding, rate, samples.shape[1]), data)
