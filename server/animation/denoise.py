"""The denoising loop: noise to latents, an execution on Triton and a sampler step at a time."""

import time
from collections.abc import Sequence
from itertools import chain

import numpy as np

from server.animation.evaluator import DenoiserInputs, Evaluator
from server.animation.guidance import Guidance, branches, guided
from server.animation.samplers.flow import State
from server.animation.samplers.sampler import Sampler
from server.animation.teacache import StepPlan, TeaCache, plan, relative_distances
from server.arrays import FloatArray
from server.parts import in_parts
from server.recorder import SILENT, Recorder
from server.triton.contract import TIME_MODULATION
from server.triton.engine import Engine, Priority


async def denoise(
    engine: Engine,
    inputs: DenoiserInputs,
    *,
    noise: FloatArray,
    sampler: Sampler,
    guidance: Guidance,
    plans: Sequence[StepPlan],
    priority: Priority = Priority.NORMAL,
    recorder: Recorder = SILENT,
) -> FloatArray:
    """Returns the latents [1, 16, T, h, w] that the noise becomes.

    Args:
        engine: runs the networks.
        inputs: what the denoiser is told besides the latents.
        noise: [1, 16, T, h, w].
        sampler: the schedule and the rule for a step.
        guidance: how the branches of a step become one velocity.
        plans: what to evaluate at each step, as ``plan_steps`` returns it.
        priority: of the executions.
        recorder: told how long each step takes.

    Raises:
        EngineUnavailableError: the denoiser cannot be run now.
        ExecutionError: an execution failed by itself.
    """
    steps = len(sampler.timesteps)
    states = [sampler.start(frame) for frame in apart(noise)]
    latents = noise
    async with Evaluator(engine, inputs, guidance, priority) as evaluator:
        for step, (timestep, of_step) in enumerate(zip(sampler.timesteps, plans, strict=True)):
            began_s = time.monotonic()
            rows = branches(guidance, step, steps)
            velocities = await evaluator.velocities(latents, timestep, step, rows, of_step)
            states, latents = await advanced(sampler, guidance, states, velocities, step)
            recorder.step_ended(time.monotonic() - began_s)
    return latents


async def advanced(
    sampler: Sampler,
    guidance: Guidance,
    states: Sequence[State],
    velocities: Sequence[FloatArray],
    step: int,
) -> tuple[list[State], FloatArray]:
    """Returns what `advance` does, computed in threads, and the latents [1, 16, T, h, w] of it."""
    latents = np.empty((1, *velocities[0].shape), np.float32)

    def advance_part(frames: slice) -> list[State]:
        rows = [velocity[:, frames] for velocity in velocities]
        moved = advance(sampler, guidance, states[frames], rows, step)
        latents[:, :, frames] = together(moved)
        return moved

    parts = await in_parts(advance_part, len(states), latents.nbytes)
    return list(chain.from_iterable(parts)), latents


def advance(
    sampler: Sampler,
    guidance: Guidance,
    states: Sequence[State],
    velocities: Sequence[FloatArray],
    step: int,
) -> list[State]:
    """Returns what a step makes of its branches' velocities, [16, T, h, w] each.

    One latent frame at a time, of which each has its state: what is computed in between then fits
    the processor's cache, and malloc keeps it. All at once is the same, and takes three times as
    long.
    """
    steps = len(sampler.timesteps)
    moved: list[State] = []
    for frame, state in enumerate(states):
        rows = np.stack([velocity[:, frame] for velocity in velocities])
        moved.append(sampler.step(state, guided(guidance, rows, step, steps)))
    return moved


def apart(latents: FloatArray) -> list[FloatArray]:
    """Returns the latent frames [1, 16, h, w] of latents [1, 16, T, h, w]."""
    return [latents[:, :, frame] for frame in range(latents.shape[2])]


def together(states: Sequence[State]) -> FloatArray:
    """Returns the latents [1, 16, T, h, w] of states of latent frames."""
    return np.stack([state.latents for state in states], axis=2)


async def plan_steps(
    engine: Engine,
    sampler: Sampler,
    guidance: Guidance,
    teacache: TeaCache | None,
    priority: Priority = Priority.NORMAL,
) -> tuple[StepPlan, ...]:
    """Returns what a run evaluates at each step: every branch, or with TeaCache fewer.

    It depends on the timesteps alone, so all windows of a stream share it.
    """
    steps = len(sampler.timesteps)
    rows = [branches(guidance, step, steps) for step in range(steps)]
    if teacache is None:
        return tuple(StepPlan(compute=of_step) for of_step in rows)
    timesteps = np.array(sampler.timesteps, np.float32)[:, None]
    result = await engine.run(TIME_MODULATION, {"timestep": timesteps}, priority=priority)
    return plan(teacache, rows, relative_distances(result["modulation"]))
