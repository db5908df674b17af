"""espeak-ng, spoken into memory: text to 16 kHz samples."""

import ctypes
from functools import cache
from pathlib import Path

import espeakng_loader
import numpy as np
import soxr
from numpy.typing import NDArray

from server.clock import MODEL_RATE_HZ

SYNCHRONOUS = 2
RATE, PITCH = 1, 3
"""What espeak_SetParameter sets."""
UTF8 = 1

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Espeak:
    """One per process: the library keeps a single state."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(Path(espeakng_loader.get_data_path()).parent).encode()
        self._rate_hz = self._library.espeak_Initialize(SYNCHRONOUS, 0, data, 0)
        self._heard: list[NDArray[np.int16]] = []
        # Kept, or it would be collected while the library still calls it.
        self._callback = _Callback(self._hear)
        self._library.espeak_SetSynthCallback(self._callback)

    def say(
        self, text: str, *, voice: str, words_per_minute: int, pitch: int
    ) -> NDArray[np.float32]:
        """Speaks a text; 16 kHz, full scale 1.

        Args:
            text: what to say.
            voice: a language and, after a plus sign, a speaker, as ``en-us+f3``.
            words_per_minute: 80 to 450.
            pitch: 0 to 99.

        Raises:
            ValueError: there is no such voice.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak-ng has no voice {voice}")
        self._library.espeak_SetParameter(RATE, words_per_minute, 0)
        self._library.espeak_SetParameter(PITCH, pitch, 0)
        self._heard.clear()
        spoken = text.encode()
        self._library.espeak_Synth(
            spoken, ctypes.c_size_t(len(spoken) + 1), 0, 0, 0, UTF8, None, None
        )
        samples = np.concatenate(self._heard).astype(np.float32) / 32768
        return soxr.resample(samples, self._rate_hz, MODEL_RATE_HZ)

    def _hear(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if samples and count:
            self._heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


@cache
def espeak() -> Espeak:
    """Returns the process's speaker."""
    return Espeak()
