"""Two channels to one, also where they would cancel each other."""

import numpy as np
from numpy.typing import NDArray

from server.audio.pcm import Samples
from server.notices import Notice

BLOCKS_PER_SECOND = 50
MEMORY = 0.98
"""What counts of a block after the next: about a second is remembered."""
CANCELLED = 0.01
"""The sum of both channels has less of the energy of their difference: -20 dB."""
SILENCE = 1e-6
"""Mean square, -60 dBFS; quieter blocks tell nothing of the phase."""
OPPOSITE = Notice(
    "AUDIO_OPPOSITE_PHASE",
    "the two channels are in opposite phase and would cancel each other, so the second is turned "
    "round; send one channel, or see to the wiring of the microphone",
)


class Downmix:
    """Returns the mean of both channels, or half their difference where the mean is silent.

    Which of them is decided after each block of 20 ms, counted from the beginning, and faded to in
    the next one: the result has no clicks, does not wait, and does not depend on the chunking.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._size = sample_rate_hz // BLOCKS_PER_SECOND
        self._block = np.zeros((self._size, 2), np.float32)
        self._filled = 0
        self._sum = self._difference = 0.0
        self._sign = 1.0
        self._signs = np.ones(self._size, np.float32)
        self._noticed = False

    def push(self, channels: NDArray[np.float32]) -> tuple[Samples, Notice | None]:
        """Takes samples [n, 2]; returns the one channel [n] and what is to be said, once."""
        mono = np.empty(len(channels), np.float32)
        notice = None
        at = 0
        while at < len(channels):
            part = channels[at : at + self._size - self._filled]
            inside = slice(self._filled, self._filled + len(part))
            self._block[inside] = part
            mono[at : at + len(part)] = (part[:, 0] + self._signs[inside] * part[:, 1]) / 2
            at += len(part)
            self._filled = inside.stop
            if self._filled == self._size:
                notice = self._decide() or notice
        return mono, notice

    def _decide(self) -> Notice | None:
        """Chooses by the last second how the next block is mixed."""
        left, right = self._block.T.astype(np.float64)
        self._filled = 0
        if np.square(left).mean() + np.square(right).mean() > SILENCE:
            self._sum = MEMORY * self._sum + float(np.square(left + right).mean())
            self._difference = MEMORY * self._difference + float(np.square(left - right).mean())
        before = self._sign
        if self._sum < CANCELLED * self._difference:
            self._sign = -1.0
        elif self._sum >= self._difference:
            self._sign = 1.0
        self._signs = np.linspace(before, self._sign, self._size, dtype=np.float32)
        if self._sign > 0 or self._noticed:
            return None
        self._noticed = True
        return OPPOSITE
