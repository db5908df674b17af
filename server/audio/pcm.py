"""The client's PCM bytes to floats."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from server.errors import InvalidFieldError

Samples = NDArray[np.float32]

SampleEncoding = Literal["s16le", "f32le"]
_BYTES: dict[SampleEncoding, int] = {"s16le": 2, "f32le": 4}
S16_FULL_SCALE = 32768.0


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How a client's audio bytes are to be read."""

    encoding: SampleEncoding
    sample_rate_hz: int
    channels: int

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of one sample of every channel."""
        return _BYTES[self.encoding] * self.channels


def decode_pcm(data: bytes, audio_format: AudioFormat, *, field: str) -> Samples:
    """Returns the samples [n, channels] of interleaved PCM bytes; full scale is 1.

    Raises:
        InvalidFieldError: a sample is cut in two, or is not a number.
    """
    whole = audio_format.bytes_per_sample
    if len(data) % whole:
        raise InvalidFieldError(
            field,
            f"{len(data)} bytes are no whole number of {audio_format.channels}-channel "
            f"{audio_format.encoding} samples; send multiples of {whole} bytes",
        )
    if audio_format.encoding == "s16le":
        samples = np.frombuffer(data, dtype="<i2").astype(np.float32) / np.float32(S16_FULL_SCALE)
    else:
        samples = np.frombuffer(data, dtype="<f4").astype(np.float32)
        if not np.isfinite(samples).all():
            raise InvalidFieldError(field, "holds NaN or infinity; send finite samples")
    return samples.reshape(-1, audio_format.channels)
