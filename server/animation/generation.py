"""What a window is made with, and what that takes: from condition to latents."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from server.animation.condition import Avatar
from server.animation.denoise import denoise, plan_steps
from server.animation.evaluator import DenoiserInputs
from server.animation.guidance import Guidance
from server.animation.samplers.sampler import Sampler
from server.animation.teacache import StepPlan, TeaCache
from server.animation.windows import Window
from server.arrays import FloatArray
from server.audio.paths import AudioPath, Hearing
from server.recorder import SILENT, Recorder
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
    teacache: TeaCache | None = None


@dataclass(frozen=True, slots=True)
class Direction:
    """What a window is made with: who is animated, how, and what each step evaluates."""

    avatar: Avatar
    generation: Generation
    plans: tuple[StepPlan, ...]


Directions = Callable[[Window], Direction]
"""Tells what a window is made with, when it begins."""


async def direct(
    engine: Engine, avatar: Avatar, generation: Generation, priority: Priority = Priority.NORMAL
) -> Direction:
    """Returns who is animated and how, with the plan of the steps.

    Raises:
        EngineUnavailableError: the time modulation, which TeaCache plans by, cannot be run now.
    """
    plans = await plan_steps(
        engine, generation.sampler, generation.guidance, generation.teacache, priority
    )
    return Direction(avatar, generation, plans)


def seeded_noise(seed: int) -> Noise:
    """Returns noise that is the same for the same seed."""
    random = np.random.default_rng(seed)
    return lambda shape: random.standard_normal(shape, dtype=np.float32)


async def generate(
    engine: Engine,
    direction: Direction,
    noise: Noise,
    *,
    condition: FloatArray,
    hearing: Hearing,
    priority: Priority = Priority.NORMAL,
    recorder: Recorder = SILENT,
) -> FloatArray:
    """Returns the latents [1, 16, T, h, w] of a window.

    Args:
        engine: runs the networks.
        direction: who is animated, and how.
        noise: what the latents begin with.
        condition: what is known of the window, [1, 20, T, h, w].
        hearing: what the denoiser hears in it.
        priority: of the denoiser's executions.
        recorder: told how long each step takes.

    Raises:
        EngineUnavailableError: the denoiser cannot be run now.
    """
    batch, _, *rest = condition.shape
    generation = direction.generation
    drawn = await asyncio.to_thread(noise, (batch, LATENT_CHANNELS, *rest))
    return await denoise(
        engine,
        denoiser_inputs(direction, condition=condition, hearing=hearing),
        noise=drawn,
        sampler=generation.sampler,
        guidance=generation.guidance,
        plans=direction.plans,
        priority=priority,
        recorder=recorder,
    )


def denoiser_inputs(
    direction: Direction, *, condition: FloatArray, hearing: Hearing
) -> DenoiserInputs:
    """Returns what stays the same over the steps of a window."""
    avatar = direction.avatar
    return DenoiserInputs(
        denoiser=direction.generation.audio.denoiser,
        condition=condition,
        text=avatar.text,
        image_tokens=avatar.image_tokens,
        hearing=hearing,
        negative_text=avatar.negative_text,
    )
