"""A noise gate: where nobody speaks, a room's noise is heard as silence.

Wav2Vec2's first layer normalises each channel over time, so noise by itself comes out of it as
strong as speech, however quiet it is, and moves the mouth. Noise around speech does not.
"""

import numpy as np
from numpy.typing import NDArray

from server.audio.clock import MODEL_RATE_HZ, MODEL_SAMPLES_PER_FRAME
from server.audio.pcm import Samples

SPEECH_BAND_HZ = (300, 4000)
"""Where words are told apart; below are mains and footsteps. All levels are of this band."""
DIGITAL_SILENCE_DB = -100.0
"""No room is so quiet; below it a frame tells nothing of the noise."""
NOISE_PERCENTILE = 10.0
"""Of the frames' levels, which is that of the pauses."""
ABOVE_NOISE_DB = 8.0
"""By which speech rises from the noise; frames of mere noise differ by less among themselves."""
LOUD_DB = -45.0
"""What is so loud passes, whatever it is."""
HOLD_FRAMES = 5
"""The gate is open so long before and after speech: words begin and end softly."""


def gate(samples: Samples) -> NDArray[np.float32]:
    """Returns the gain of each sample of a segment at 16 kHz, full scale 1: 1 in speech, or 0.

    It is told from the segment alone, in frames of the video, between which the gain is faded.
    """
    levels = _levels_db(samples)
    room = levels[levels > DIGITAL_SILENCE_DB]
    if len(room) == 0:
        return np.zeros(len(samples), np.float32)
    speech_db = min(LOUD_DB, float(np.percentile(room, NOISE_PERCENTILE)) + ABOVE_NOISE_DB)
    reach = np.ones(2 * HOLD_FRAMES + 1)
    opened = np.convolve(levels >= speech_db, reach)[HOLD_FRAMES:-HOLD_FRAMES] > 0
    centres = (np.arange(len(levels)) + 0.5) * MODEL_SAMPLES_PER_FRAME
    return np.interp(np.arange(len(samples)), centres, opened).astype(np.float32)


def _levels_db(samples: Samples) -> NDArray[np.float64]:
    """Returns the mean square of each frame, of what lies in the band, against full scale."""
    size = MODEL_SAMPLES_PER_FRAME
    frames = np.pad(samples, (0, -len(samples) % size)).reshape(-1, size)
    window = np.hanning(size)
    power = np.square(np.abs(np.fft.rfft(frames * window, axis=1)))
    low, high = (hertz * size // MODEL_RATE_HZ for hertz in SPEECH_BAND_HZ)
    mean_square = 2 * power[:, low : high + 1].sum(axis=1) / (size * np.square(window).sum())
    return 10 * np.log10(mean_square + 1e-12)
