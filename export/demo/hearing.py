"""What the server feeds the audio encoder, window by window, from the server's own code."""

import asyncio
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from server.animation.features import Segment, next_segment
from server.animation.windows import Window, WindowSpec, windows
from server.audio.clock import MODEL_SAMPLES_PER_FRAME
from server.audio.frame_rate import conv_frames, interpolation
from server.audio.normalizer import RunningNormalizer
from server.audio.pcm import Samples
from server.audio.timeline import AudioBudget, AudioTimeline

SPEC = WindowSpec(ladder=(17, 33), overlap=5, audio_lookahead=5, audio_left_context=50)
"""How training cuts speech; the server may cut it otherwise."""


@dataclass(frozen=True, slots=True)
class HeardWindow:
    """A window, and the segment of sound around it."""

    window: Window
    segment: Segment

    def values(self, of_frames: NDArray[np.floating]) -> NDArray[np.float32]:
        """Returns what a recording's frames have, for each frame of the segment; 0 past the end."""
        start, end = self.segment.start, self.segment.start + self.segment.frames
        part = of_frames[start:end].astype(np.float32)
        return np.pad(part, (0, self.segment.frames - len(part)))

    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns waveform, low, high and weight as the audio encoder takes them."""
        waveform = self.segment.waveform
        rows = interpolation(conv_frames(len(waveform)), self.segment.frames)
        waveform, low, high, weight = (torch.from_numpy(row)[None] for row in (waveform, *rows))
        return waveform, low, high, weight


def heard_windows(samples: Samples, spec: WindowSpec = SPEC) -> list[HeardWindow]:
    """Cuts a recording of 16 kHz into the windows that a live stream of it would have."""
    return asyncio.run(_heard_windows(samples, spec))


async def _heard_windows(samples: Samples, spec: WindowSpec) -> list[HeardWindow]:
    timeline = AudioTimeline(AudioBudget(len(samples) + 1))
    frames = -(-len(samples) // MODEL_SAMPLES_PER_FRAME)
    await timeline.finish(samples, frames * MODEL_SAMPLES_PER_FRAME)
    normalize = RunningNormalizer()
    heard: list[HeardWindow] = []
    for window in windows(spec):
        if window.start + window.overlap >= frames:
            break
        heard.append(HeardWindow(window, await next_segment(timeline, window, spec, normalize)))
    return heard
