"""A stream's speech to what the denoiser hears in a window.

timeline -> segment (window with context) -> normalise, gate -> Wav2Vec2 on Triton -> its part
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from server.animation.windows import Window, WindowSpec
from server.audio.clock import MODEL_SAMPLES_PER_FRAME
from server.audio.gate import gate
from server.audio.paths import AudioPath, Hearing
from server.audio.pcm import Samples
from server.audio.timeline import AudioTimeline
from server.triton.engine import Engine, Priority

Normalize = Callable[[Samples, int], Samples]
"""Normalises samples that begin at a position of the stream."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The audio of frames ``start`` to ``start + frames``: a window and its context."""

    start: int
    frames: int
    waveform: Samples


async def next_segment(
    timeline: AudioTimeline, window: Window, spec: WindowSpec, normalize: Normalize
) -> Segment:
    """Waits for a window's audio and context; what lies after the end of the audio is silence."""
    start = max(0, window.start - spec.audio_left_context)
    frames = window.end + spec.audio_lookahead - start
    first = start * MODEL_SAMPLES_PER_FRAME
    length = frames * MODEL_SAMPLES_PER_FRAME
    heard = await timeline.take(first, first + length)
    samples = normalize(heard, first) * gate(heard)
    return Segment(start, frames, np.pad(samples, (0, length - len(samples))))


async def hear(
    engine: Engine, path: AudioPath, segment: Segment, window: Window, priority: Priority
) -> Hearing:
    """Returns what the denoiser hears in a window."""
    features = await path.encode(engine, segment.waveform, segment.frames, priority)
    return path.window(features, window.start - segment.start, window.frames)
