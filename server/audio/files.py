"""Files of sound that a client sends whole: WAV, FLAC and Ogg, by libsndfile."""

# The library's own annotations are missing.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import io
from typing import Any

import soundfile

from server.audio.pcm import AudioFormat, SampleEncoding
from server.errors import InvalidFieldError, LimitError

KINDS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG")
MAX_CHANNELS = 2


def read_file(data: bytes, *, longest_s: float, field: str) -> tuple[AudioFormat, bytes]:
    """Returns the PCM of a file of sound; 16 bits as they are, anything else as floats.

    Args:
        data: the file.
        longest_s: more sound is not even decoded, since few bytes may hold hours of silence.
        field: that holds it.

    Raises:
        InvalidFieldError: it is no such file, or has too many channels.
        LimitError: it is too long.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            return _read(file, longest_s, field)
    except soundfile.SoundFileError as error:
        problem = "is no sound that can be read; send WAV, FLAC, Ogg, or PCM with its rate"
        raise InvalidFieldError(field, problem) from error


def _read(file: Any, longest_s: float, field: str) -> tuple[AudioFormat, bytes]:
    if file.format not in KINDS:
        raise InvalidFieldError(field, f"is {file.format}; send WAV, FLAC or Ogg")
    if file.channels > MAX_CHANNELS:
        raise InvalidFieldError(field, f"has {file.channels} channels; send 1 or 2")
    # A header may promise any rate, and any length.
    most = int(longest_s * min(file.samplerate, 48_000))
    encoding: SampleEncoding = "s16le" if file.subtype == "PCM_16" else "f32le"
    dtype = "int16" if encoding == "s16le" else "float32"
    blocks: list[bytes] = []
    samples = 0
    while len(block := file.read(file.samplerate, dtype=dtype, always_2d=True)):
        samples += len(block)
        if samples > most:
            raise LimitError("max_render_audio", f"the audio is longer than {longest_s:g} s")
        blocks.append(block.astype("<i2" if encoding == "s16le" else "<f4", copy=False).tobytes())
    return AudioFormat(encoding, file.samplerate, file.channels), b"".join(blocks)
