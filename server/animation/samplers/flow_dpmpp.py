"""Flow DPM++: DPM-Solver++(2M), Lu et al. 2022, https://arxiv.org/abs/2211.01095, algorithm 2.

Compatible with upstream's fm_solvers.py (order 2, midpoint, first order at both ends).
"""

import math

import numpy as np

from server.animation.samplers.flow import (
    TRAIN_TIMESTEPS,
    Latents,
    Schedule,
    State,
    make_schedule,
    predict_x0,
    shifted,
)


def schedule(steps: int, shift: float, constructor_shift: float) -> Schedule:
    """Returns evenly spaced noise levels from 1, shifted by both; timesteps are whole numbers."""
    sigmas = shifted(shifted(np.linspace(1, 0, steps + 1)[:-1], shift), constructor_shift)
    return make_schedule(sigmas, timesteps=np.trunc(sigmas * TRAIN_TIMESTEPS))


def step(schedule: Schedule, state: State, velocity: Latents) -> State:
    """Takes one step down the schedule."""
    x0 = predict_x0(schedule, state, velocity)
    latents = predict(schedule, state.step, state.latents, x0, *state.denoised)
    return State(latents, state.step + 1, denoised=(x0,))


def predict(schedule: Schedule, step: int, x: Latents, x0: Latents, *earlier: Latents) -> Latents:
    """Returns the latents at the next noise level, given x0 as predicted at this one and earlier.

    With the paper's alpha = 1 - sigma, lambda = log(alpha / sigma) and h = lambda_t - lambda_s, its
    -alpha_t (e^-h - 1) is 1 - sigma_t / sigma_s. So the update mixes x with x0, and at second order
    with x0 carried on, by half a step, along its change since the step before.
    """
    sigmas = schedule.sigmas
    ratio = sigmas[step + 1] / sigmas[step]
    if 0 < step < len(schedule.timesteps) - 1:
        before, now, after = map(half_log_snr, sigmas[step - 1 : step + 2])
        x0 = x0 + 0.5 * (after - now) / (now - before) * (x0 - earlier[0])
    return x0 + ratio * (x - x0)


def half_log_snr(sigma: float) -> float:
    """Returns log((1 - sigma) / sigma), the lambda of the paper, for 0 < sigma <= 1."""
    return math.log((1 - sigma) / sigma) if sigma < 1 else -math.inf
