"""Texts in place of sound files: what a voice says, as calls take it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from echomimic_client.audio import AudioClip, AudioFormat
from echomimic_client.errors import VoiceError
from echomimic_client.voice import DEFAULT_VOICE, NoVoiceError, load_voice


@dataclass(frozen=True, slots=True)
class SpokenText:
    """A text that is being spoken, once, as its pieces are asked for."""

    format: AudioFormat
    pieces: Iterable[bytes]

    def chunks(self, chunk_ms: int) -> Iterator[bytes]:
        """Yields what is spoken in pieces of ``chunk_ms`` milliseconds at most."""
        for piece in self.pieces:
            yield from AudioClip(self.format, piece).chunks(chunk_ms)

    def clip(self) -> AudioClip:
        """Returns all of it, when it has been spoken."""
        return AudioClip(self.format, b"".join(self.pieces))


def say(text: str, voice: str = DEFAULT_VOICE) -> SpokenText:
    """Has a text spoken.

    Args:
        text: what to say.
        voice: `module:function`, as `echomimic_client.voice` describes it.

    Raises:
        VoiceError: there is no such voice, or nothing to say.
    """
    if not text.strip():
        raise VoiceError("there is nothing to say")
    try:
        speak = load_voice(voice)
    except NoVoiceError as error:
        raise VoiceError(str(error)) from error
    sample_rate_hz, pieces = speak(text)
    return SpokenText(AudioFormat("s16le", sample_rate_hz), pieces)
