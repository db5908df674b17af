"""The denoising loop: noise to latents, an execution on Triton and a sampler step at a time."""

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.contract import DENOISER
from server.engine import Engine
from server.guidance import Branch, Guidance, branches, guided
from server.samplers.sampler import Sampler

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DenoiserInputs:
    """What stays the same over the steps of a window; one row each."""

    condition: FloatArray
    text: FloatArray
    image_tokens: FloatArray
    audio: FloatArray

    def batch(self, rows: tuple[Branch, ...]) -> dict[str, FloatArray]:
        """Returns the inputs of some branches as one batch; without speech the audio is zero."""
        count = len(rows)
        speaks = np.array([branch is Branch.SPEECH for branch in rows], np.float32)
        return {
            "condition": np.repeat(self.condition, count, axis=0),
            "text": np.repeat(self.text, count, axis=0),
            "image_tokens": np.repeat(self.image_tokens, count, axis=0),
            "audio": self.audio * speaks.reshape(-1, *[1] * (self.audio.ndim - 1)),
        }


async def denoise(
    engine: Engine,
    inputs: DenoiserInputs,
    *,
    noise: FloatArray,
    sampler: Sampler,
    guidance: Guidance,
) -> FloatArray:
    """Returns the latents [1, 16, T, h, w] that the noise becomes.

    Raises:
        EngineUnavailableError: the denoiser cannot be run now.
    """
    steps = len(sampler.timesteps)
    batches = {
        rows: inputs.batch(rows)
        for rows in {branches(guidance, step, steps) for step in range(steps)}
    }
    state = sampler.start(noise)
    for step, timestep in enumerate(sampler.timesteps):
        rows = branches(guidance, step, steps)
        varying = {
            "latents": np.repeat(state.latents, len(rows), axis=0),
            "timestep": np.full((len(rows), 1), timestep, np.float32),
        }
        result = await engine.run(DENOISER, batches[rows] | varying)
        velocity = guided(guidance, result["velocity"], step, steps)
        state = await asyncio.to_thread(sampler.step, state, velocity)
    return state.latents
