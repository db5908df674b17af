"""A stream's speech to what the denoiser hears in a window.

timeline -> segment (window with context) -> normalise -> Wav2Vec2 on Triton -> the window's part
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from server.animation.windows import Window, WindowSpec
from server.audio.clock import MODEL_SAMPLES_PER_FRAME
from server.audio.paths import AudioPath, Hearing
from server.audio.timeline import AudioTimeline, Samples
from server.triton.engine import Engine

VARIANCE_FLOOR = 1e-6
"""-60 dBFS: quieter noise than this is not blown up to the level of speech."""


Normalize = Callable[[Samples, int], Samples]
"""Normalises samples that begin at a position of the stream."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The audio of frames ``start`` to ``start + frames``: a window and its context."""

    start: int
    frames: int
    waveform: Samples


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


async def next_segment(
    timeline: AudioTimeline, window: Window, spec: WindowSpec, normalize: Normalize
) -> Segment:
    """Waits for a window's audio and context; what lies after the end of the audio is silence."""
    start = max(0, window.start - spec.audio_left_context)
    frames = window.end + spec.audio_lookahead - start
    first = start * MODEL_SAMPLES_PER_FRAME
    length = frames * MODEL_SAMPLES_PER_FRAME
    samples = normalize(await timeline.take(first, first + length), first)
    return Segment(start, frames, np.pad(samples, (0, length - len(samples))))


async def hear(engine: Engine, path: AudioPath, segment: Segment, window: Window) -> Hearing:
    """Returns what the denoiser hears in a window."""
    features = await path.encode(engine, segment.waveform, segment.frames)
    return path.window(features, window.start - segment.start, window.frames)
