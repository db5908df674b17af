"""Speech to zero mean and unit variance, as Wav2Vec2 takes it, while it comes in."""

import numpy as np

from server.audio.pcm import Samples

VARIANCE_FLOOR = 1e-6
"""-60 dBFS: quieter noise than this is not blown up to the level of speech."""


class RunningNormalizer:
    """Zero mean and unit variance, from all audio up to the end of what is normalised.

    The authors normalise a whole file by its own mean and variance, eps 1e-7. A stream has no whole
    file; the mean and variance of what has been heard approach the same numbers. They are taken at
    window borders, so they do not depend on the chunking.
    """

    def __init__(self, *, variance_floor: float = VARIANCE_FLOOR) -> None:
        self._variance_floor = variance_floor
        self._end = 0
        self._sum = 0.0
        self._sum_of_squares = 0.0

    def __call__(self, samples: Samples, start: int) -> Samples:
        """Normalises samples that begin at a position; those not heard before are counted in."""
        new = samples[max(0, self._end - start) :].astype(np.float64)
        self._end += len(new)
        self._sum += float(new.sum())
        self._sum_of_squares += float(np.square(new).sum())
        count = max(1, self._end)
        mean = self._sum / count
        variance = max(self._sum_of_squares / count - mean * mean, self._variance_floor)
        return ((samples - mean) / np.sqrt(variance + 1e-7)).astype(np.float32)
