"""espeak-ng's voices, which need no network: text to PCM. Needs `espeakng-loader`."""

import _ctypes
import ctypes
import re
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import espeakng_loader
import numpy as np
from numpy.typing import NDArray

RATE_HZ = 22_050
"""What espeak-ng speaks at."""
SYNCHRONOUS = 2
WORDS_PER_MINUTE, PITCH = 1, 3
"""What espeak_SetParameter sets."""
UTF8, PAUSE_AT_END = 1, 0x1000
RANDOM_SEED = 1
SHORTEST = 24
"""Characters below which a sentence is spoken with the one after it: it may be an abbreviation."""

_SENTENCE_END = re.compile("(?<=[.!?\u2026])[^\\w\\s]*\\s+|(?<=[\u3002\uff01\uff1f])|\n+")
_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
_speaking = threading.Lock()
"""There is one library in a process."""


def speak(
    text: str, *, voice: str = "en-us", words_per_minute: int = 160, pitch: int = 50
) -> tuple[int, Iterator[bytes]]:
    """Speaks a text, a sentence at a time: a voice, as `echomimic_client.voice` describes it.

    Args:
        text: what to say.
        voice: a language and, after a plus sign, a speaker, as ``de`` or ``en-us+f3``.
        words_per_minute: 80 to 450.
        pitch: 0 to 99.

    Raises:
        ValueError: there is no such voice; when the first piece is asked for.
    """

    def pieces() -> Iterator[bytes]:
        found = sentences(text)
        for number, sentence in enumerate(found, 1):
            samples = synthesize(
                sentence,
                voice=voice,
                words_per_minute=words_per_minute,
                pitch=pitch,
                pause_at_end=number < len(found),
            )
            yield samples.astype("<i2").tobytes()

    return RATE_HZ, pieces()


def sentences(text: str) -> list[str]:
    """Cuts a text after its sentences, of which short ones stay with the next; at least one."""
    found = [""]
    start = 0
    for end in (*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)):
        found[-1] += text[start:end]
        start = end
        if len(found[-1].strip()) >= SHORTEST and text[end:].strip():
            found.append("")
    return found


def synthesize(
    text: str, *, voice: str, words_per_minute: int, pitch: int, pause_at_end: bool = False
) -> NDArray[np.int16]:
    """Returns a text as samples, the same ones whenever it is said; arguments are those of `speak`.

    Raises:
        ValueError: there is no such voice.
    """
    heard = [np.zeros(0, np.int16)]

    def hear(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if samples and count:
            heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    with _library() as library:
        callback = _Callback(hear)
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak-ng has no voice {voice}")
        library.espeak_SetParameter(WORDS_PER_MINUTE, words_per_minute, 0)
        library.espeak_SetParameter(PITCH, pitch, 0)
        spoken = text.replace("\0", " ").encode()
        flags = UTF8 | (PAUSE_AT_END if pause_at_end else 0)
        library.espeak_Synth(spoken, ctypes.c_size_t(len(spoken) + 1), 0, 0, 0, flags, None, None)
    return np.concatenate(heard)


@contextmanager
def _library() -> Generator[ctypes.CDLL]:
    """Loads the library anew: it remembers, in the flutter of its voice, what it said before."""
    with _speaking:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(Path(espeakng_loader.get_data_path()).parent).encode()
        try:
            rate_hz = library.espeak_Initialize(SYNCHRONOUS, 0, data, 0)
            assert rate_hz == RATE_HZ, rate_hz
            library.espeak_ng_SetRandSeed(ctypes.c_long(RANDOM_SEED))
            yield library
        finally:
            library.espeak_Terminate()
            _ctypes.dlclose(library._handle)
