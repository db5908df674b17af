"""Rectified flow: noise levels, and how far a run has come down them.

Latents at noise level sigma are x = (1 - sigma) x0 + sigma noise; a network predicts the velocity
v = noise - x0, so that x0 = x - sigma v. Esser et al. 2024, https://arxiv.org/abs/2403.03206
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Latents = NDArray[np.floating[Any]]
"""Float32, of any shape: weights are Python floats, which leave the precision of arrays alone."""
Sigmas = NDArray[np.floating[Any]]

TRAIN_TIMESTEPS = 1000
"""Noise levels that the networks were trained on; a timestep is sigma times this."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The noise levels of a run, in float32 precision.

    ``timesteps`` (one a step) are what the network is told; ``sigmas`` has one more, the final 0.
    """

    timesteps: tuple[float, ...]
    sigmas: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class State:
    """How far a run has come: immutable, so a step that failed is simply taken again.

    ``step`` counts the steps taken, ``latents`` are at noise level ``sigmas[step]``. The multistep
    samplers remember the x0 predictions of steps before, latest first, in ``denoised``; UniPC also
    the latents, as it ``corrected`` them, that the latest step began with.
    """

    latents: Latents
    step: int = 0
    denoised: tuple[Latents, ...] = ()
    corrected: Latents | None = None


def shifted(sigmas: Sigmas, shift: float) -> Sigmas:
    """Moves noise levels up (shift > 1) or down, keeping 0 and 1."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def make_schedule(sigmas: Sigmas, timesteps: Sigmas) -> Schedule:
    """Returns the schedule that visits some noise levels and then 0."""
    return Schedule(
        timesteps=tuple(timesteps.astype(np.float32).tolist()),
        sigmas=(*sigmas.astype(np.float32).tolist(), 0.0),
    )


def predict_x0(schedule: Schedule, state: State, velocity: Latents) -> Latents:
    """Returns the clean latents that a velocity points to."""
    return state.latents - schedule.sigmas[state.step] * velocity
