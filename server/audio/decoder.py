"""An utterance's PCM, chunk by chunk, to one channel; and what is wrong with it.

bytes -> is it a file? -> floats -> too loud? -> full scale -> one channel
"""

import numpy as np

from server.audio.clipping import ClippingMeter
from server.audio.containers import FirstBytes
from server.audio.downmix import Downmix
from server.audio.pcm import AudioFormat, Samples, decode_pcm
from server.notices import Notice


class PcmDecoder:
    """Decodes one utterance."""

    def __init__(self, audio_format: AudioFormat) -> None:
        rate, channels = audio_format.sample_rate_hz, audio_format.channels
        self._format = audio_format
        self._first_bytes = FirstBytes()
        self._clipping = ClippingMeter(rate * channels)
        self._downmix = Downmix(rate) if channels == 2 else None
        self._notices: list[Notice] = []

    def push(self, data: bytes, *, field: str) -> Samples:
        """Returns mono samples in [-1, 1], as many as the bytes have of each channel.

        Raises:
            InvalidFieldError: a sample is cut in two, or is not a number, or they are a file's.
        """
        self._first_bytes.push(data, field=field)
        samples = decode_pcm(data, self._format, field=field)
        self._notice(self._clipping.push(samples.ravel()))
        samples = np.clip(samples, -1.0, 1.0)
        if self._downmix is None:
            return samples[:, 0]
        mono, notice = self._downmix.push(samples)
        self._notice(notice)
        return mono

    def finish(self) -> None:
        """Says that no more follows, which also a short utterance is judged after."""
        self._notice(self._clipping.finish())

    def notices(self) -> tuple[Notice, ...]:
        """Returns what has been noticed since this was last asked."""
        noticed, self._notices = tuple(self._notices), []
        return noticed

    def _notice(self, notice: Notice | None) -> None:
        if notice is not None:
            self._notices.append(notice)
