"""The dataflow, from speech to frames. Read this file first.

    timeline -> features -> condition -> denoise -> decode -> stitch -> clips of frames

One window at a time: it waits for its audio, and its frames leave as soon as they are decoded.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.audio import AudioTimeline
from server.clock import MODEL_SAMPLES_PER_FRAME
from server.condition import Avatar, Conditioner
from server.contract import LATENT_CHANNELS, PIXELS_PER_LATENT, VAE_DECODER, latent_frames
from server.denoise import DenoiserInputs, denoise
from server.engine import Engine
from server.features import RunningNormalizer, encode_audio, next_segment
from server.guidance import Guidance
from server.samplers.sampler import Sampler
from server.stitch import Clip, Stitcher
from server.windows import Window, WindowSpec, windows


@dataclass(frozen=True, slots=True)
class Generation:
    """How frames are generated."""

    sampler: Sampler
    guidance: Guidance
    seed: int


async def animate(
    engine: Engine,
    conditioner: Conditioner,
    avatar: Avatar,
    timeline: AudioTimeline,
    spec: WindowSpec,
    generation: Generation,
) -> AsyncIterator[Clip]:
    """Yields the frames of a stream, in order and without gaps, a clip for each window.

    The last clip reaches past the end of the audio: the caller drops what it does not need.
    """
    normalize = RunningNormalizer()
    stitcher = Stitcher(spec.overlap)
    random = np.random.default_rng(generation.seed)
    for window in windows(spec):
        if not await _has_new_frames(timeline, window):
            break
        segment = await next_segment(timeline, window, spec, normalize)
        audio = await encode_audio(engine, segment, window)
        condition = await _condition(conditioner, avatar, stitcher, window)
        latents = await denoise(
            engine,
            DenoiserInputs(condition, avatar.text, avatar.image_tokens, audio),
            noise=draw_noise(random, avatar, window),
            sampler=generation.sampler,
            guidance=generation.guidance,
        )
        decoded = await engine.run(VAE_DECODER, {"latents": latents}, ["frames"])
        yield stitcher.add(window, decoded["frames"][0])
    held = stitcher.finish()
    if held is not None:
        yield held


def draw_noise(random: np.random.Generator, avatar: Avatar, window: Window) -> NDArray[np.float32]:
    """Draws a window's noise [1, 16, T, h, w]; one generator serves all windows of a stream."""
    height, width, _ = avatar.picture.shape
    shape = (
        1,
        LATENT_CHANNELS,
        latent_frames(window.frames),
        height // PIXELS_PER_LATENT,
        width // PIXELS_PER_LATENT,
    )
    return random.standard_normal(shape, dtype=np.float32)


async def _has_new_frames(timeline: AudioTimeline, window: Window) -> bool:
    """Waits until a window is known to hold a frame that the windows before did not."""
    seen = (window.start + window.overlap) * MODEL_SAMPLES_PER_FRAME
    return await timeline.wait_until(seen + 1)


async def _condition(
    conditioner: Conditioner, avatar: Avatar, stitcher: Stitcher, window: Window
) -> NDArray[np.float32]:
    if window.overlap == 0:
        return await conditioner.first_window(avatar.picture, window.frames)
    return await conditioner.window(stitcher.held, window.frames)
