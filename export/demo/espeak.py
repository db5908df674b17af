"""espeak-ng, spoken into memory: text to 16 kHz samples."""

import _ctypes
import ctypes
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import espeakng_loader
import numpy as np
import soxr
from numpy.typing import NDArray

from server.audio.clock import MODEL_RATE_HZ

SYNCHRONOUS = 2
RATE, PITCH = 1, 3
"""What espeak_SetParameter sets."""
UTF8 = 1
RANDOM_SEED = 1

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def say(text: str, *, voice: str, words_per_minute: int, pitch: int) -> NDArray[np.float32]:
    """Speaks a text, always in the same way; 16 kHz, full scale 1.

    Args:
        text: what to say.
        voice: a language and, after a plus sign, a speaker, as ``en-us+f3``.
        words_per_minute: 80 to 450.
        pitch: 0 to 99.

    Raises:
        ValueError: there is no such voice.
    """
    heard: list[NDArray[np.int16]] = []

    def hear(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if samples and count:
            heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    with _library() as (library, rate_hz):
        callback = _Callback(hear)
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak-ng has no voice {voice}")
        library.espeak_SetParameter(RATE, words_per_minute, 0)
        library.espeak_SetParameter(PITCH, pitch, 0)
        spoken = text.encode()
        length = ctypes.c_size_t(len(spoken) + 1)
        library.espeak_Synth(spoken, length, 0, 0, 0, UTF8, None, None)
    samples = np.concatenate(heard).astype(np.float32) / 32768
    return soxr.resample(samples, rate_hz, MODEL_RATE_HZ)


@contextmanager
def _library() -> Generator[tuple[ctypes.CDLL, int]]:
    """Loads the library anew: it remembers, in the flutter of its voice, what it said before."""
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = str(Path(espeakng_loader.get_data_path()).parent).encode()
    try:
        rate_hz = library.espeak_Initialize(SYNCHRONOUS, 0, data, 0)
        library.espeak_ng_SetRandSeed(ctypes.c_long(RANDOM_SEED))
        yield library, rate_hz
    finally:
        library.espeak_Terminate()
        _ctypes.dlclose(library._handle)
