"""The rule by which sound moves a drawn mouth: loudness opens it, bright sound widens it.

It can be computed again from any recording, so a test knows how far a mouth should be open.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.audio.clock import MODEL_SAMPLES_PER_FRAME

FloatArray = NDArray[np.floating]

LOUD_PERCENTILE = 95
"""Of the frames' loudness; what counts as loud in a recording."""
CLOSED_DB, OPEN_DB = -20.0, -1.0
"""Loudness, against a loud frame, below which a mouth is shut and above which it is wide open."""
SILENT_DB = -50.0
"""Against full scale: quieter sound opens no mouth, however quiet the recording is."""
SMOOTHING = np.array([1, 4, 6, 4, 1]) / 16
"""Over frames: no jaw moves faster."""
BRIGHT_HZ = 1200.0
DULL, BRIGHT = 0.02, 0.35
"""Shares of the energy above BRIGHT_HZ at which a mouth is narrow and wide."""


@dataclass(frozen=True, slots=True)
class Motion:
    """What a mouth does, a value a video frame: ``openings`` and ``widths`` in [0, 1]."""

    openings: FloatArray
    widths: FloatArray


def motion(samples: NDArray[np.floating]) -> Motion:
    """Returns how a mouth moves to a recording of 16 kHz, full scale 1; ceil(S / 640) frames."""
    spectra = _spectra(samples)
    energy = spectra.sum(axis=1)
    level = 10 * np.log10(energy + 1e-12)
    loud = max(float(np.percentile(level, LOUD_PERCENTILE)), SILENT_DB - CLOSED_DB)
    openings = np.clip((level - loud - CLOSED_DB) / (OPEN_DB - CLOSED_DB), 0, 1)
    bright = spectra[:, _bright_bin(spectra) :].sum(axis=1) / (energy + 1e-12)
    widths = np.clip((bright - DULL) / (BRIGHT - DULL), 0, 1)
    # A mouth that is shut has no sound to be shaped by.
    heard = np.clip(openings / 0.2, 0, 1)
    return Motion(_smooth(openings), _smooth(0.5 + heard * (widths - 0.5)))


def _spectra(samples: NDArray[np.floating]) -> FloatArray:
    """Returns the power of each frame and half of its neighbours, [frames, bins].

    The bins of a frame add up to its mean square.
    """
    frames = -(-len(samples) // MODEL_SAMPLES_PER_FRAME)
    half = MODEL_SAMPLES_PER_FRAME // 2
    padded = np.pad(samples, (half, frames * MODEL_SAMPLES_PER_FRAME - len(samples) + half))
    views = np.lib.stride_tricks.sliding_window_view(padded, 2 * MODEL_SAMPLES_PER_FRAME)
    window = np.hanning(2 * MODEL_SAMPLES_PER_FRAME)
    windowed = views[::MODEL_SAMPLES_PER_FRAME] * window
    power = np.square(np.abs(np.fft.rfft(windowed, axis=1)))
    return power * 2 / (len(window) * np.square(window).sum())


def _bright_bin(spectra: FloatArray) -> int:
    return round(BRIGHT_HZ / 8000 * (spectra.shape[1] - 1))


def _smooth(values: FloatArray) -> FloatArray:
    reach = len(SMOOTHING) // 2
    return np.convolve(np.pad(values, reach, mode="edge"), SMOOTHING, mode="valid")
