"""Evaluates the denoiser: what stays the same over a window is placed once, and stepped.

The branches of a step, its rows, share all of it: a step sends latents, a timestep and the rows'
gains.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

import numpy as np

from server.animation.guidance import Branch, Guidance, negative_factor
from server.animation.teacache import Evaluation, StepPlan
from server.arrays import FloatArray
from server.audio.paths import Hearing
from server.triton.contract import DENOISER_CACHED, PREVIEW_DENOISER, Arrays, Network
from server.triton.engine import Engine, Placed, Priority

Rows = tuple[Branch, ...]


@dataclass(frozen=True, slots=True)
class DenoiserInputs:
    """What stays the same over the steps of a window, for one stream."""

    denoiser: Network
    condition: FloatArray
    text: FloatArray
    image_tokens: FloatArray
    hearing: Hearing
    negative_text: FloatArray | None = None

    def constants(self) -> Arrays:
        """Returns what is placed."""
        return {
            **self.hearing,
            "condition": self.condition,
            "text": self._texts() if self.denoiser == PREVIEW_DENOISER else self.text,
            "image_tokens": self.image_tokens,
        }

    def gains(self, rows: Rows, negative_factor: float) -> dict[str, FloatArray]:
        """Returns what tells the rows apart: which hear, and in preview whose text is whose."""
        hears = np.array([[branch is Branch.SPEECH for branch in rows]], np.float32)
        if self.denoiser != PREVIEW_DENOISER:
            return {"audio_gain": hears}
        if self.negative_text is None and Branch.NEGATIVE in rows:
            raise ValueError("the guidance has a negative branch, but there is no negative text")
        negative = np.array([branch is Branch.NEGATIVE for branch in rows], np.float32)
        of_text = [1 - negative, negative * np.float32(negative_factor)]
        texts = 1 if self.negative_text is None else 2
        return {"audio_gain": hears, "text_gain": np.stack(of_text[:texts], axis=1)[None]}

    def _texts(self) -> FloatArray:
        """Returns the prompt, and the negative one if there is one, [1, texts, tokens, width]."""
        texts = [self.text, *([] if self.negative_text is None else [self.negative_text])]
        tokens = max(text.shape[1] for text in texts)
        padded = [np.pad(text, ((0, 0), (0, tokens - text.shape[1]), (0, 0))) for text in texts]
        return np.stack(padded, axis=1)


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
        self._engine = engine
        self._inputs = inputs
        self._guidance = guidance
        self._priority = priority
        self._residuals: dict[Evaluation, FloatArray] = {}
        self._placed: dict[Network, Placed] = {}
        self._context = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._context.aclose()

    async def velocities(
        self, latents: FloatArray, timestep: float, step: int, rows: Rows, of_step: StepPlan
    ) -> list[FloatArray]:
        """Returns the velocity of each row, [16, T, h, w]."""
        by_branch: dict[Branch, FloatArray] = {}
        noisy = {"latents": latents, "timestep": np.full((1, 1), timestep, np.float32)}
        if of_step.compute:
            by_branch |= await self._compute(noisy, step, of_step)
        if of_step.reuse:
            by_branch |= await self._reuse(noisy, of_step.reuse)
        self._residuals = {key: self._residuals[key] for key in of_step.hold}
        return [by_branch[branch] for branch in rows]

    async def _compute(
        self, noisy: Arrays, step: int, of_step: StepPlan
    ) -> dict[Branch, FloatArray]:
        rows = of_step.compute
        kept = [row for row, branch in enumerate(rows) if (step, branch) in of_step.hold]
        gains = self._inputs.gains(rows, negative_factor(self._guidance, step))
        placed = await self._place(self._inputs.denoiser, self._inputs.constants)
        result = await placed.run(
            {**noisy, **gains},
            ["velocity", "residual"] if kept else ["velocity"],
            priority=self._priority,
        )
        for row in kept:
            self._residuals[Evaluation(step, rows[row])] = result["residual"][0, row]
        return dict(zip(rows, result["velocity"][0], strict=True))

    async def _reuse(
        self, noisy: Arrays, reuse: dict[Branch, Evaluation]
    ) -> dict[Branch, FloatArray]:
        residuals = [self._residuals[source] for source in reuse.values()]
        residual = (await asyncio.to_thread(np.stack, residuals))[None]
        placed = await self._place(DENOISER_CACHED, lambda: {"condition": self._inputs.condition})
        result = await placed.run({**noisy, "residual": residual}, priority=self._priority)
        return dict(zip(reuse, result["velocity"][0], strict=True))

    async def _place(self, network: Network, constants: Callable[[], Arrays]) -> Placed:
        if network not in self._placed:
            arrays = await asyncio.to_thread(constants)
            placing = self._engine.place(network, arrays)
            self._placed[network] = await self._context.enter_async_context(placing)
        return self._placed[network]
