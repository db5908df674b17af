"""How the frames of a call are generated, and what one window takes: from condition to latents."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from server.animation.condition import Avatar
from server.animation.denoise import denoise
from server.animation.evaluator import DenoiserInputs
from server.animation.guidance import Guidance
from server.animation.samplers.sampler import Sampler
from server.animation.teacache import StepPlan, TeaCache
from server.arrays import FloatArray
from server.audio.paths import AudioPath, Hearing
from server.triton.contract import LATENT_CHANNELS
from server.triton.engine import Engine, Priority

Noise = Callable[[tuple[int, ...]], FloatArray]
"""Draws standard normal noise of a shape; one source serves all windows of an utterance."""


@dataclass(frozen=True, slots=True)
class Generation:
    """How frames are generated."""

    audio: AudioPath
    sampler: Sampler
    guidance: Guidance
    noise: Noise
    teacache: TeaCache | None = None


def seeded_noise(seed: int) -> Noise:
    """Returns noise that is the same for the same seed."""
    random = np.random.default_rng(seed)
    return lambda shape: random.standard_normal(shape, dtype=np.float32)


async def generate(
    engine: Engine,
    avatar: Avatar,
    generation: Generation,
    plans: Sequence[StepPlan],
    *,
    condition: FloatArray,
    hearing: Hearing,
    priority: Priority = Priority.NORMAL,
) -> FloatArray:
    """Returns the latents [1, 16, T, h, w] of a window.

    Args:
        engine: runs the networks.
        avatar: who is animated.
        generation: how.
        plans: what to evaluate at each step, as ``plan_steps`` returns it.
        condition: what is known of the window, [1, 20, T, h, w].
        hearing: what the denoiser hears in it.
        priority: of the denoiser's executions.

    Raises:
        EngineUnavailableError: the denoiser cannot be run now.
    """
    batch, _, *rest = condition.shape
    noise = await asyncio.to_thread(generation.noise, (batch, LATENT_CHANNELS, *rest))
    return await denoise(
        engine,
        denoiser_inputs(avatar, generation, condition=condition, hearing=hearing),
        noise=noise,
        sampler=generation.sampler,
        guidance=generation.guidance,
        plans=plans,
        priority=priority,
    )


def denoiser_inputs(
    avatar: Avatar, generation: Generation, *, condition: FloatArray, hearing: Hearing
) -> DenoiserInputs:
    """Returns what stays the same over the steps of a window."""
    return DenoiserInputs(
        denoiser=generation.audio.denoiser,
        condition=condition,
        text=avatar.text,
        image_tokens=avatar.image_tokens,
        hearing=hearing,
        negative_text=avatar.negative_text,
    )
