"""Tells when what comes in is louder than full scale."""

import numpy as np

from server.audio.pcm import Samples
from server.notices import Notice

FULL_SCALE = 32767 / 32768
"""What the largest 16-bit sample comes to."""
MAX_SHARE = 0.01
"""More samples than this at full scale are no mere peaks."""
INTEGERS_BEYOND = 2.0
"""Floats most of which are larger than this are integers in disguise."""


class ClippingMeter:
    """Judges after each second and at the end, so never by how the samples are cut into chunks."""

    def __init__(self, samples_per_second: int) -> None:
        """Begins with nothing heard.

        Args:
            samples_per_second: of all channels together.
        """
        self._second = samples_per_second
        self._samples = self._clipped = self._sounding = self._integers = 0
        self._noticed = False

    def push(self, samples: Samples) -> Notice | None:
        """Counts samples of any magnitude; returns what is to be said, once."""
        while len(samples) and not self._noticed:
            room = self._second - self._samples % self._second
            self._count(np.abs(samples[:room]))
            samples = samples[room:]
            if self._samples % self._second == 0 and (notice := self.finish()):
                return notice
        return None

    def finish(self) -> Notice | None:
        """Returns what is to be said of all that was counted, once."""
        if self._noticed or self._clipped <= MAX_SHARE * self._samples:
            return None
        self._noticed = True
        remedy = "send it quieter"
        if self._integers > self._sounding / 2:
            remedy = "these floats look like 16-bit integers: divide them by 32768"
        share = f"{100 * self._clipped / self._samples:.0f} %"
        problem = f"{share} of the samples are at full scale or beyond, where sound is cut off"
        return Notice("AUDIO_CLIPPED", f"{problem}; {remedy}")

    def _count(self, magnitudes: Samples) -> None:
        self._samples += len(magnitudes)
        self._clipped += int((magnitudes >= FULL_SCALE).sum())
        self._sounding += int((magnitudes > 0).sum())
        self._integers += int((magnitudes > INTEGERS_BEYOND).sum())
