"""The 16 kHz audio of an utterance, from where it comes in to the windows that take it.

bytes -> mono (decoder) -> 16 kHz (resampler) -> AudioTimeline -> the samples of a window
"""

import asyncio
from collections.abc import Callable

import numpy as np

from server.audio.pcm import Samples

SAMPLE_BYTES = 4


class AudioBudget:
    """How much audio of one call may wait to be used, over all its utterances."""

    def __init__(self, max_samples: int, changed: Callable[[int], None] = lambda _: None) -> None:
        """Begins with nothing waiting.

        Args:
            max_samples: how much may wait.
            changed: told by how much what waits has changed.
        """
        self._max_samples = max_samples
        self._changed = changed
        self._waiting = 0

    def has_room(self, samples: int) -> bool:
        """Tells whether some more samples may wait."""
        return self._waiting + samples <= self._max_samples

    def change(self, samples: int) -> None:
        """Counts audio that has come in, or with a minus sign audio that has been used."""
        self._waiting += samples
        self._changed(samples)


class AudioTimeline:
    """The 16 kHz audio of one utterance, between what has come in and what has been used.

    Positions count samples from the utterance's start. What lies before the last ``take`` is gone,
    so memory is bounded by the budget, the longest ``take`` and one chunk.
    """

    def __init__(self, budget: AudioBudget) -> None:
        # Bytes, since appending to and trimming a bytearray costs nothing for one-sample chunks.
        self._bytes = bytearray()
        self._start = 0
        self._used = 0
        self._counted = 0
        self._budget = budget
        self._finished = False
        self._changed = asyncio.Condition()
        self.is_starving = False
        """Whether somebody waits for audio that has not come in."""

    @property
    def end(self) -> int:
        """The position after the last sample that has come in."""
        return self._start + len(self._bytes) // SAMPLE_BYTES

    async def push(self, samples: Samples) -> None:
        """Adds audio."""
        async with self._changed:
            self._bytes += samples.tobytes()
            self._count()
            self._changed.notify_all()

    async def finish(self, tail: Samples, length: int) -> None:
        """Adds the last audio and says that no more will come.

        Args:
            tail: the last samples.
            length: samples in all: the last frame is filled up with silence, and a sample that the
                resampler rounds up to is dropped.
        """
        async with self._changed:
            self._bytes += tail.tobytes()
            missing = max(0, length - self.end)
            self._bytes += bytes(missing * SAMPLE_BYTES)
            del self._bytes[max(0, length - self._start) * SAMPLE_BYTES :]
            self._finished = True
            self._count()
            self._changed.notify_all()

    async def wait_until(self, position: int) -> bool:
        """Waits for the audio before a position, or for the end; tells whether it is all there."""
        async with self._changed:
            self.is_starving = True
            try:
                await self._changed.wait_for(lambda: self._finished or self.end >= position)
            finally:
                self.is_starving = False
            return self.end >= position

    async def take(self, start: int, end: int) -> Samples:
        """Returns the audio between two positions, less what lies after its end, once it is there.

        Drops what lies before ``start``, so later calls may not begin earlier.
        """
        await self.wait_until(end)
        async with self._changed:
            if start < self._start:
                raise ValueError(f"audio before {self._start} is gone, asked for {start}")
            dropped = min(start, self.end) - self._start
            del self._bytes[: dropped * SAMPLE_BYTES]
            self._start += dropped
            self._used = max(self._used, min(end, self.end))
            self._count()
            self._changed.notify_all()
            wanted = max(0, end - self._start) * SAMPLE_BYTES
            return np.frombuffer(bytes(self._bytes[:wanted]), np.float32)

    def drop(self) -> None:
        """Forgets what has not been used: nobody is going to take it."""
        self._used = self.end
        self._count()

    def _count(self) -> None:
        unused = self.end - self._used
        self._budget.change(unused - self._counted)
        self._counted = unused
