"""What callers may hand over: portraits and speech, in the forms they have them."""

import io
import os
from collections.abc import AsyncIterable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from echomimic_client.audio import AudioClip, AudioFormat, Bytes, read_audio
from echomimic_client.results import Avatar

Picture = str | os.PathLike[str] | Bytes | NDArray[np.uint8]
"""A picture file's path or bytes, or a picture [height, width, 3], RGB."""
Chunk = Bytes | NDArray[Any]
"""A piece of PCM: bytes, or int16 or float32 samples [samples] or [samples, channels]."""
Speech = str | os.PathLike[str] | AudioClip | Chunk | Iterable[Chunk]
"""A sound file's path, a clip, or PCM in one piece or in many."""
AsyncSpeech = Speech | AsyncIterable[Chunk]

CHUNK_MS = 100
"""How speech that is there as a whole is cut."""
LONGEST_MESSAGE_S = 1


Portrait = Picture | Avatar
"""Who is animated: a picture file's path or bytes, a picture, or an avatar of the server's."""


def portrait_of(portrait: Portrait) -> bytes | Avatar:
    """Returns a picture file, or an avatar.

    Raises:
        OSError: the file cannot be read.
        ValueError: an array is no picture.
    """
    return portrait if isinstance(portrait, Avatar) else portrait_file(portrait)


def portrait_file(portrait: Picture) -> bytes:
    """Returns a picture file; an array becomes a PNG.

    Raises:
        OSError: the file cannot be read.
        ValueError: an array is no picture.
    """
    if isinstance(portrait, np.ndarray):
        if portrait.dtype != np.uint8 or portrait.ndim != 3 or portrait.shape[2] != 3:
            raise ValueError(
                "a portrait in an array is uint8 [height, width, 3], "
                f"not {portrait.dtype} {list(portrait.shape)}"
            )
        file = io.BytesIO()
        Image.fromarray(portrait).save(file, "PNG")
        return file.getvalue()
    if isinstance(portrait, bytes | bytearray | memoryview):
        return bytes(portrait)
    return Path(portrait).read_bytes()


def chunks_of(
    speech: AsyncSpeech, audio_format: AudioFormat | None
) -> tuple[AudioFormat, Iterable[Chunk] | AsyncIterable[Chunk]]:
    """Returns the format of speech, and its pieces.

    Raises:
        AudioFileError: a file cannot be read as speech.
        ValueError: nothing tells the format, or it is not the one that a file has.
    """
    clip = speech if isinstance(speech, AudioClip) else None
    if isinstance(speech, str | os.PathLike):
        clip = read_audio(speech)
    if clip is not None:
        if audio_format not in (None, clip.format):
            raise ValueError(f"audio_format: the speech is {clip.format}, leave it out")
        return clip.format, clip.chunks(CHUNK_MS)
    if audio_format is None:
        raise ValueError("audio_format: PCM does not tell how it is to be read; state it")
    if isinstance(speech, bytes | bytearray | memoryview | np.ndarray):
        return audio_format, [cast("Chunk", speech)]
    return audio_format, cast("Iterable[Chunk] | AsyncIterable[Chunk]", speech)


def whole_speech(speech: Speech, audio_format: AudioFormat | None) -> AudioClip:
    """Returns speech in one piece; errors are those of `chunks_of`."""
    if isinstance(speech, AudioClip) and audio_format in (None, speech.format):
        return speech
    audio_format, chunks = chunks_of(speech, audio_format)
    cutter = SampleCutter(audio_format)
    pieces = [piece for chunk in cast("Iterable[Chunk]", chunks) for piece in cutter.cut(chunk)]
    return AudioClip(audio_format, b"".join(pieces))


class SampleCutter:
    """Turns chunks of any length into messages of whole samples, none of them empty or long."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self._rest = b""

    def cut(self, chunk: Chunk) -> Iterator[bytes]:
        """Yields whole samples; what is left of a sample waits for the next chunk.

        Raises:
            TypeError: it is no chunk of PCM.
            ValueError: an array does not fit the format.
        """
        data = self._rest + _pcm(chunk, self._format)
        whole = len(data) - len(data) % self._format.bytes_per_sample
        self._rest = data[whole:]
        longest = LONGEST_MESSAGE_S * self._format.sample_rate_hz * self._format.bytes_per_sample
        for start in range(0, whole, longest):
            yield data[start : min(start + longest, whole)]

    def forget_rest(self) -> None:
        """Begins anew: what is left of a sample is dropped."""
        self._rest = b""


def _pcm(chunk: Chunk, audio_format: AudioFormat) -> bytes:
    if isinstance(chunk, bytes | bytearray | memoryview):
        return bytes(chunk)
    if not isinstance(chunk, np.ndarray):
        raise TypeError(f"a chunk of audio is bytes or an array, not {type(chunk).__name__}")
    if chunk.dtype.newbyteorder("<") != audio_format.dtype:
        raise ValueError(
            f"the audio is {chunk.dtype}, but audio_format says {audio_format.encoding}: "
            "int16 is s16le, float32 is f32le"
        )
    # One dimension holds the channels interleaved, as bytes do.
    if chunk.ndim != 1 and chunk.shape[1:] != (audio_format.channels,):
        raise ValueError(
            f"the audio is {list(chunk.shape)}, but audio_format says {audio_format.channels} "
            "channels: write [samples, channels]"
        )
    return chunk.astype(audio_format.dtype).tobytes()
