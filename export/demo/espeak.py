"""espeak-ng at the rate that Wav2Vec2 hears: text to 16 kHz samples."""

import numpy as np
import soxr
from numpy.typing import NDArray

from echomimic_client.espeak import RATE_HZ, synthesize
from server.audio.clock import MODEL_RATE_HZ


def say(text: str, *, voice: str, words_per_minute: int, pitch: int) -> NDArray[np.float32]:
    """Speaks a text, always in the same way; 16 kHz, full scale 1.

    Arguments and errors are those of `synthesize`.
    """
    spoken = synthesize(text, voice=voice, words_per_minute=words_per_minute, pitch=pitch)
    return soxr.resample(spoken.astype(np.float32) / 32768, RATE_HZ, MODEL_RATE_HZ)
