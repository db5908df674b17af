"""Audio files to PCM: file -> AudioClip -> chunks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from echomimic_client.errors import AudioFileError

FRAME_RATE = 25
"""Frames a second that the server makes: the model's own rate."""
MIN_SAMPLE_RATE_HZ, MAX_SAMPLE_RATE_HZ = 8_000, 48_000
"""What the server takes."""
MAX_CHANNELS = 2

SampleEncoding = Literal["s16le", "f32le"]
_DTYPES: dict[SampleEncoding, np.dtype] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}
_FULL_SCALE: dict[SampleEncoding, float] = {"s16le": 32768.0, "f32le": 1.0}
_S16_SUBTYPES = frozenset({"PCM_S8", "PCM_U8", "PCM_16"})
"""libsndfile's names of what 16 bits hold without loss."""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How PCM bytes are to be read; channels are interleaved."""

    encoding: SampleEncoding
    sample_rate_hz: int
    channels: int = 1

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of one sample of every channel."""
        return _DTYPES[self.encoding].itemsize * self.channels


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


def read_audio(path: Path) -> AudioClip:
    """Reads a WAV, FLAC, OGG or MP3 file at its own rate; more than two channels are averaged.

    Raises:
        AudioFileError: it is no such file, is empty, or has a rate that the server does not take.
    """
    try:
        with path.open("rb") as file, soundfile.SoundFile(file) as sound:
            return _read(sound, path)
    except OSError as error:
        raise AudioFileError(f"{path}: {error.strerror}") from error
    except soundfile.LibsndfileError as error:
        raise AudioFileError(f"{path}: {error.error_string}") from error


def _read(sound: soundfile.SoundFile, path: Path) -> AudioClip:
    rate = sound.samplerate
    if not MIN_SAMPLE_RATE_HZ <= rate <= MAX_SAMPLE_RATE_HZ:
        raise AudioFileError(
            f"{path} has {rate} samples a second; convert it to "
            f"{MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ}"
        )
    averaged = sound.channels > MAX_CHANNELS
    exact = sound.subtype in _S16_SUBTYPES and not averaged
    samples = sound.read(dtype="int16" if exact else "float32", always_2d=True)
    if not len(samples):
        raise AudioFileError(f"{path} holds no sound")
    if averaged:
        samples = samples.mean(axis=1, dtype=np.float32, keepdims=True)
    encoding: SampleEncoding = "s16le" if exact else "f32le"
    data = samples.astype(_DTYPES[encoding]).tobytes()
    return AudioClip(AudioFormat(encoding, rate, samples.shape[1]), data)
