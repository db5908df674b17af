"""Evaluates the denoiser: what stays the same over a window is placed once, and stepped."""

import asyncio
from collections.abc import Callable, Hashable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from server.animation.guidance import Branch, Guidance, negative_factor
from server.animation.teacache import Evaluation, StepPlan
from server.arrays import FloatArray
from server.audio.paths import Hearing
from server.triton.contract import DENOISER_CACHED, Arrays, Network
from server.triton.engine import Engine, Placed, Priority

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


class Evaluator:
    """Evaluates the branches of one step after the other, and keeps the residuals still needed.

    As a context: what stays the same from step to step lies on the engine until its end.
    """

    def __init__(
        self,
        engine: Engine,
        inputs: DenoiserInputs,
        guidance: Guidance,
        priority: Priority = Priority.NORMAL,
    ) -> None:
        self._inputs = inputs
        self._guidance = guidance
        self._priority = priority
        self._residuals: dict[Evaluation, FloatArray] = {}
        self._denoiser = _Place(engine, inputs.denoiser)
        self._cached = _Place(engine, DENOISER_CACHED)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._denoiser.clear()
        await self._cached.clear()

    async def velocities(
        self, latents: FloatArray, timestep: float, step: int, rows: Rows, of_step: StepPlan
    ) -> list[FloatArray]:
        """Returns the velocity of each row, [16, T, h, w]."""
        by_branch: dict[Branch, FloatArray] = {}
        if of_step.compute:
            by_branch |= await self._compute(latents, timestep, step, of_step)
        if of_step.reuse:
            by_branch |= await self._reuse(latents, timestep, of_step.reuse)
        self._residuals = {key: self._residuals[key] for key in of_step.hold}
        return [by_branch[branch] for branch in rows]

    async def _compute(
        self, latents: FloatArray, timestep: float, step: int, of_step: StepPlan
    ) -> dict[Branch, FloatArray]:
        rows = of_step.compute
        kept = [row for row, branch in enumerate(rows) if (step, branch) in of_step.hold]
        factor = negative_factor(self._guidance, step) if Branch.NEGATIVE in rows else 1.0
        placed = await self._denoiser.holding(
            (rows, factor), lambda: self._inputs.batch(rows, factor)
        )
        result = await placed.run(
            await asyncio.to_thread(_noisy, latents, timestep, len(rows)),
            ["velocity", "residual"] if kept else ["velocity"],
            priority=self._priority,
        )
        for row in kept:
            self._residuals[Evaluation(step, rows[row])] = result["residual"][row]
        return dict(zip(rows, result["velocity"], strict=True))

    async def _reuse(
        self, latents: FloatArray, timestep: float, reuse: dict[Branch, Evaluation]
    ) -> dict[Branch, FloatArray]:
        count = len(reuse)
        residuals = [self._residuals[source] for source in reuse.values()]

        def changing() -> dict[str, FloatArray]:
            return {"residual": np.stack(residuals)} | _noisy(latents, timestep, count)

        placed = await self._cached.holding(
            count, lambda: {"condition": np.repeat(self._inputs.condition, count, axis=0)}
        )
        result = await placed.run(await asyncio.to_thread(changing), priority=self._priority)
        return dict(zip(reuse, result["velocity"], strict=True))


class _Place:
    """Where a network's constants lie: one set at a time, since they are large."""

    def __init__(self, engine: Engine, network: Network) -> None:
        self._engine = engine
        self._network = network
        self._held: tuple[Hashable, Placed] | None = None
        self._context = AsyncExitStack()

    async def holding(self, key: Hashable, constants: Callable[[], Arrays]) -> Placed:
        """Returns the network with the constants of a key, placed now if need be."""
        if self._held is None or self._held[0] != key:
            await self.clear()
            arrays = await asyncio.to_thread(constants)
            placing = self._engine.place(self._network, arrays)
            self._held = key, await self._context.enter_async_context(placing)
        return self._held[1]

    async def clear(self) -> None:
        """Lets go of what is placed."""
        self._held = None
        await self._context.aclose()


def _noisy(latents: FloatArray, timestep: float, count: int) -> dict[str, FloatArray]:
    return {
        "latents": np.repeat(latents, count, axis=0),
        "timestep": np.full((count, 1), timestep, np.float32),
    }
