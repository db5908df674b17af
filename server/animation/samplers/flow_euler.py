"""Flow Euler: a straight line along the velocity, from each noise level to the next.

Compatible with FlowMatchEulerDiscreteScheduler of diffusers without dynamic shifting.
"""

import numpy as np

from server.animation.samplers.flow import (
    TRAIN_TIMESTEPS,
    Latents,
    Schedule,
    State,
    make_schedule,
    shifted,
)


def schedule(steps: int, shift: float, constructor_shift: float) -> Schedule:
    """Returns noise levels from 1 to the lowest of training, both shifted, then shifted once more.

    Here upstream knows one shift, so ``constructor_shift`` does not enter. Timesteps are fractions.
    """
    del constructor_shift
    lowest = shifted(np.array([1 / TRAIN_TIMESTEPS], np.float32), shift).item()
    sigmas = shifted(np.linspace(1, lowest, steps), shift).astype(np.float32)
    return make_schedule(sigmas, timesteps=sigmas * TRAIN_TIMESTEPS)


def step(schedule: Schedule, state: State, velocity: Latents) -> State:
    """Takes one step down the schedule."""
    sigma, sigma_next = schedule.sigmas[state.step : state.step + 2]
    return State(state.latents + (sigma_next - sigma) * velocity, state.step + 1)
