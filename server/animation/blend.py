"""Long-video guidance: all windows of a clip are denoised side by side and joined at every step.

Compatible with ``use_longvideo_cfg`` of upstream's preview. Every window is told the first frames
as its condition; from the second step on, neighbours fade into each other where they overlap.
"""

import asyncio
import time
from collections.abc import Iterator

from server.animation.denoise import advance, apart, together
from server.animation.evaluator import Evaluator
from server.animation.generation import Direction, Noise, denoiser_inputs
from server.animation.guidance import branches
from server.animation.samplers.flow import State
from server.animation.stitch import fade
from server.arrays import FloatArray
from server.audio.paths import AudioPath, Hearing, PreviewAudio
from server.recorder import SILENT, Recorder
from server.triton.contract import (
    AUDIO_TOKENS_PER_FRAME,
    FRAMES_PER_LATENT,
    LATENT_CHANNELS,
    latent_frames,
)
from server.triton.engine import Engine

TOKENS_PER_LATENT = AUDIO_TOKENS_PER_FRAME * FRAMES_PER_LATENT


def parts(total: int, window: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Yields first and last (exclusive) latent frame of the windows that cover a clip.

    Raises:
        ValueError: they do not advance.
    """
    if not 0 < overlap < window:
        raise ValueError(f"windows of {window} latent frames cannot share {overlap}")
    start = 0
    while True:
        end = min(start + window, total)
        yield start, end
        if end == total:
            return
        start = end - overlap


async def blended_latents(
    engine: Engine,
    direction: Direction,
    noise: Noise,
    *,
    condition: FloatArray,
    features: FloatArray,
    frames: int,
    overlap: int,
    recorder: Recorder = SILENT,
) -> FloatArray:
    """Returns the latents [1, 16, T, h, w] of a whole clip.

    Args:
        engine: runs the networks.
        direction: who is animated, and how: with the Euler sampler, since the others remember what
            came before a blend, and without TeaCache.
        noise: what the latents begin with.
        condition: what each window is told, [1, 20, window, h, w].
        features: of the whole speech.
        frames: video frames of the clip.
        overlap: latent frames that neighbours share.
        recorder: told how long each step of the clip takes.

    Raises:
        EngineUnavailableError: a network cannot be run now.
    """
    generation = direction.generation
    sampler, guidance = generation.sampler, generation.guidance
    window, sides = condition.shape[2], condition.shape[3:]
    total = latent_frames(frames)
    inputs = {
        (start, end): denoiser_inputs(
            direction,
            condition=condition[:, :, : end - start],
            hearing=_hearing(generation.audio, features, start, None if end == total else end),
        )
        for start, end in parts(total, window, overlap)
    }
    timesteps = sampler.timesteps
    steps = len(timesteps)

    def faded(before: FloatArray, part: FloatArray, velocities: list[FloatArray]) -> FloatArray:
        states = [State(frame, step) for frame in apart(part)]
        moved = advance(sampler, guidance, states, velocities, step)
        return fade(before, together(moved), axis=2)

    latents = await asyncio.to_thread(noise, (1, LATENT_CHANNELS, total, *sides))
    for step, (timestep, of_step) in enumerate(zip(timesteps, direction.plans, strict=True)):
        began_s = time.monotonic()
        rows = branches(guidance, step, steps)
        joined = latents.copy()
        for (start, end), of_window in inputs.items():
            part = latents[:, :, start:end]
            # A new one each time. What it places is not worth keeping for the next step: 35 MB a
            # window at 512x512 and more, of dozens of windows, against hundredths of a second.
            async with Evaluator(engine, of_window, guidance) as evaluator:
                velocities = await evaluator.velocities(part, timestep, step, rows, of_step)
            shared = overlap if start > 0 and step > 0 else 0
            joined[:, :, start:end] = await asyncio.to_thread(
                faded, joined[:, :, start : start + shared], part, velocities
            )
        latents = joined
        recorder.step_ended(time.monotonic() - began_s)
    return latents


def _hearing(audio: AudioPath, features: FloatArray, start: int, end: int | None) -> Hearing:
    """Returns what a window of latent frames hears; the last window hears all that is left."""
    if not isinstance(audio, PreviewAudio):
        raise ValueError("only the preview variant blends windows")
    last = None if end is None else end * TOKENS_PER_LATENT
    return audio.tokens(features[start * TOKENS_PER_LATENT : last])
