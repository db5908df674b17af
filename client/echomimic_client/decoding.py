"""Sound files to samples: what libsndfile reads, and the rest by PyAV where it is installed."""

import io
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from echomimic_client.errors import AudioFileError
from echomimic_client.joined import parts, with_wav_length

BLOCK_SAMPLES = 1 << 16
_S16_SUBTYPES = frozenset({"PCM_S8", "PCM_U8", "PCM_16"})
"""libsndfile's names of what 16 bits hold without loss."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples [samples, channels], int16 or float32 in [-1, 1], and how many there are a second."""

    samples: NDArray[Any]
    sample_rate_hz: int


def decode(data: bytes, name: str) -> Sound:
    """Decodes a sound file, or several in one, to its end.

    Raises:
        AudioFileError: it cannot be read; the text begins with ``name``.
    """
    return _joined([_decode_one(part, name) for part in parts(data)], name)


def _decode_one(data: bytes, name: str) -> Sound:
    try:
        return _by_libsndfile(with_wav_length(data))
    except soundfile.LibsndfileError as error:
        if find_spec("av") is not None:
            return _by_av(data, name)
        reason = error.error_string.rstrip(".")
        raise AudioFileError(
            f"{name}: {reason}; M4A, AAC, WebM and videos need the extra `mp4` installed here"
        ) from error


class _Sequential(soundfile.SoundFile):
    """A file that is read to its end, whatever length its header states.

    soundfile seeks where a file can be sought in, and believes the header.
    """

    def seekable(self) -> bool:
        return False


def _by_libsndfile(data: bytes) -> Sound:
    with _Sequential(io.BytesIO(data)) as file:
        dtype = "int16" if file.subtype in _S16_SUBTYPES else "float32"
        blocks: list[NDArray[Any]] = [np.zeros((0, file.channels), dtype)]
        while len(block := file.read(BLOCK_SAMPLES, dtype=dtype, always_2d=True)):
            blocks.append(block)
        return Sound(np.concatenate(blocks), file.samplerate)


def _joined(sounds: list[Sound], name: str) -> Sound:
    rates = {sound.sample_rate_hz for sound in sounds}
    shapes = {(sound.samples.shape[1], sound.samples.dtype) for sound in sounds}
    if len(rates) > 1 or len(shapes) > 1:
        raise AudioFileError(f"{name} joins sounds of different kinds; split it")
    return Sound(np.concatenate([sound.samples for sound in sounds]), rates.pop())


def _by_av(data: bytes, name: str) -> Sound:
    import av
    from av.error import FFmpegError

    pieces: list[NDArray[Any]] = []
    try:
        with av.open(io.BytesIO(data), "r", metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise AudioFileError(f"{name} holds no sound")
            resampler: av.AudioResampler | None = None
            for frame in container.decode(container.streams.audio[0]):
                if resampler is None:
                    resampler = av.AudioResampler("fltp", frame.layout, frame.sample_rate)
                pieces += [np.asarray(piece.to_ndarray()).T for piece in resampler.resample(frame)]
    except (FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioFileError(f"{name} cannot be read as sound: {reason}") from error
    if resampler is None or not pieces:
        raise AudioFileError(f"{name} holds no sound")
    return Sound(np.concatenate(pieces), resampler.rate)
