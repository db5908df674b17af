"""The denoising loop: noise to latents, an execution on Triton and a sampler step at a time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.animation.guidance import Branch, Guidance, branches, guided, negative_factor
from server.animation.samplers.sampler import Sampler
from server.animation.teacache import Evaluation, StepPlan, TeaCache, plan, relative_distances
from server.audio.paths import Hearing
from server.triton.contract import DENOISER_CACHED, TIME_MODULATION, Network
from server.triton.engine import Engine

FloatArray = NDArray[np.float32]
Rows = tuple[Branch, ...]


@dataclass(frozen=True, slots=True)
class DenoiserInputs:
    """What stays the same over the steps of a window; one row each."""

    denoiser: Network
    condition: FloatArray
    text: FloatArray
    image_tokens: FloatArray
    hearing: Hearing
    negative_text: FloatArray | None = None

    def batch(self, rows: Rows, negative_factor: float) -> dict[str, NDArray[Any]]:
        """Returns the inputs of some branches as one batch; without speech the audio is zero."""
        count = len(rows)
        speaks = np.array([branch is Branch.SPEECH for branch in rows], np.float32)
        hearing = {name: np.repeat(array, count, axis=0) for name, array in self.hearing.items()}
        hearing["audio"] = hearing["audio"] * speaks.reshape(-1, *[1] * (hearing["audio"].ndim - 1))
        return {
            **hearing,
            "condition": np.repeat(self.condition, count, axis=0),
            "text": np.concatenate([self._text(branch, negative_factor) for branch in rows]),
            "image_tokens": np.repeat(self.image_tokens, count, axis=0),
        }

    def _text(self, branch: Branch, negative_factor: float) -> FloatArray:
        if branch is not Branch.NEGATIVE:
            return self.text
        if self.negative_text is None:
            raise ValueError("the guidance has a negative branch, but there is no negative text")
        return self.negative_text * np.float32(negative_factor)


async def denoise(
    engine: Engine,
    inputs: DenoiserInputs,
    *,
    noise: FloatArray,
    sampler: Sampler,
    guidance: Guidance,
    plans: Sequence[StepPlan],
) -> FloatArray:
    """Returns the latents [1, 16, T, h, w] that the noise becomes.

    Args:
        engine: runs the networks.
        inputs: what the denoiser is told besides the latents.
        noise: [1, 16, T, h, w].
        sampler: the schedule and the rule for a step.
        guidance: how the branches of a step become one velocity.
        plans: what to evaluate at each step, as ``plan_steps`` returns it.

    Raises:
        EngineUnavailableError: the denoiser cannot be run now.
    """
    steps = len(sampler.timesteps)
    evaluator = Evaluator(engine, inputs, guidance)
    state = sampler.start(noise)
    for step, (timestep, of_step) in enumerate(zip(sampler.timesteps, plans, strict=True)):
        rows = branches(guidance, step, steps)
        velocities = await evaluator.velocities(state.latents, timestep, step, rows, of_step)
        velocity = guided(guidance, velocities, step, steps)
        state = await asyncio.to_thread(sampler.step, state, velocity)
    return state.latents


async def plan_steps(
    engine: Engine, sampler: Sampler, guidance: Guidance, teacache: TeaCache | None
) -> tuple[StepPlan, ...]:
    """Returns what a run evaluates at each step: every branch, or with TeaCache fewer.

    It depends on the timesteps alone, so all windows of a stream share it.
    """
    steps = len(sampler.timesteps)
    rows = [branches(guidance, step, steps) for step in range(steps)]
    if teacache is None:
        return tuple(StepPlan(compute=of_step) for of_step in rows)
    timesteps = np.array(sampler.timesteps, np.float32)[:, None]
    modulation = (await engine.run(TIME_MODULATION, {"timestep": timesteps}))["modulation"]
    return plan(teacache, rows, relative_distances(modulation))


class Evaluator:
    """Evaluates the branches of one step after the other, and keeps the residuals still needed."""

    def __init__(self, engine: Engine, inputs: DenoiserInputs, guidance: Guidance) -> None:
        self._engine = engine
        self._inputs = inputs
        self._guidance = guidance
        self._residuals: dict[Evaluation, FloatArray] = {}
        self._batches: dict[tuple[Rows, float], dict[str, NDArray[Any]]] = {}

    async def velocities(
        self, latents: FloatArray, timestep: float, step: int, rows: Rows, of_step: StepPlan
    ) -> FloatArray:
        """Returns the velocity of each row, [rows, 16, T, h, w]."""
        by_branch: dict[Branch, FloatArray] = {}
        if of_step.compute:
            by_branch |= await self._compute(latents, timestep, step, of_step)
        if of_step.reuse:
            by_branch |= await self._reuse(latents, timestep, of_step.reuse)
        self._residuals = {key: self._residuals[key] for key in of_step.hold}
        return np.stack([by_branch[branch] for branch in rows])

    async def _compute(
        self, latents: FloatArray, timestep: float, step: int, of_step: StepPlan
    ) -> dict[Branch, FloatArray]:
        rows = of_step.compute
        kept = [row for row, branch in enumerate(rows) if (step, branch) in of_step.hold]
        result = await self._engine.run(
            self._inputs.denoiser,
            self._batch(rows, step) | _noisy(latents, timestep, len(rows)),
            ["velocity", "residual"] if kept else ["velocity"],
        )
        for row in kept:
            self._residuals[Evaluation(step, rows[row])] = result["residual"][row]
        return dict(zip(rows, result["velocity"], strict=True))

    async def _reuse(
        self, latents: FloatArray, timestep: float, reuse: dict[Branch, Evaluation]
    ) -> dict[Branch, FloatArray]:
        count = len(reuse)
        cached = {
            "condition": np.repeat(self._inputs.condition, count, axis=0),
            "residual": np.stack([self._residuals[source] for source in reuse.values()]),
        }
        result = await self._engine.run(DENOISER_CACHED, cached | _noisy(latents, timestep, count))
        return dict(zip(reuse, result["velocity"], strict=True))

    def _batch(self, rows: Rows, step: int) -> dict[str, NDArray[Any]]:
        """Returns the inputs that do not change while rows and negative text stay the same."""
        factor = negative_factor(self._guidance, step) if Branch.NEGATIVE in rows else 1.0
        if (rows, factor) not in self._batches:
            # One at a time, since texts are large.
            self._batches = {(rows, factor): self._inputs.batch(rows, factor)}
        return self._batches[rows, factor]


def _noisy(latents: FloatArray, timestep: float, count: int) -> dict[str, FloatArray]:
    return {
        "latents": np.repeat(latents, count, axis=0),
        "timestep": np.full((count, 1), timestep, np.float32),
    }
