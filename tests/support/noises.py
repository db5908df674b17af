"""What a microphone hears in a room where nobody speaks."""

import numpy as np
from numpy.typing import NDArray

from server.audio.clock import MODEL_RATE_HZ

NOISES = ("hum", "rumble", "pink", "white")
MAINS_HZ = 50
RUMBLE_HZ = 200
HARMONICS = (1, 2, 3, 4, 6)


def noise(name: str, length: int, level_db: float) -> NDArray[np.float32]:
    """Returns a noise at 16 kHz, its root mean square in dB against full scale.

    Args:
        name: "hum" of the mains and its harmonics, "rumble" below 200 Hz, "pink" or "white".
        length: in samples.
        level_db: of the whole.
    """
    random = np.random.default_rng(0)
    if name == "hum":
        phase = 2 * np.pi * MAINS_HZ * np.arange(length) / MODEL_RATE_HZ
        wave = np.sum([np.sin(k * phase + k) / k for k in HARMONICS], axis=0)
    elif name == "rumble":
        spectrum = np.fft.rfft(random.standard_normal(length))
        hertz = np.fft.rfftfreq(length, 1 / MODEL_RATE_HZ)
        wave = np.fft.irfft(spectrum * (hertz < RUMBLE_HZ), length)
    elif name == "pink":
        spectrum = np.fft.rfft(random.standard_normal(length))
        hertz = np.fft.rfftfreq(length, 1 / MODEL_RATE_HZ)
        spectrum[0] = 0
        wave = np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, 20)), length)
    else:
        wave = random.standard_normal(length)
    return (wave / wave.std() * 10 ** (level_db / 20)).astype(np.float32)
