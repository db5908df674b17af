"""Text to speech: what a voice is, and how one is named.

A voice is one function. It takes a text, and returns samples a second and the speech: PCM of 16
bits, little-endian, one channel, in pieces of any length, as they are spoken. A mouth moves as soon
as the first piece is there, so the first should be short:

    def speak(text: str) -> tuple[int, Iterable[bytes]]:
        return 24_000, (engine.say(sentence) for sentence in sentences(text))

`module:function` names it, as in ``--voice my_voice:speak``. It may be called from any thread, and
several texts may be spoken by turns; the pieces of one are asked for one after the other.
"""

from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint
from typing import cast

Voice = Callable[[str], tuple[int, Iterable[bytes]]]

DEFAULT_VOICE = "echomimic_client.espeak:speak"


class NoVoiceError(Exception):
    """A voice cannot be used; the text says what to do."""


def load_voice(name: str = DEFAULT_VOICE) -> Voice:
    """Returns the voice of a name.

    Raises:
        NoVoiceError: there is none, or what it needs is not installed.
    """
    try:
        voice = EntryPoint(name, name, "voices").load()
    except ImportError as error:
        if name == DEFAULT_VOICE:
            raise NoVoiceError("text to speech needs the extra `voice` installed here") from error
        raise NoVoiceError(f"the voice {name} cannot be used: {error}") from error
    except (AttributeError, ValueError) as error:
        raise NoVoiceError(f"there is no voice {name}; write it as module:function") from error
    if not callable(voice):
        raise NoVoiceError(f"the voice {name} is no function")
    return cast("Voice", voice)
