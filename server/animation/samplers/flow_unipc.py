"""Flow UniPC: each step first corrects the latents it got, then predicts the next.

UniPC-2 in its B2(h) form, Zhao et al. 2023, https://arxiv.org/abs/2302.04867, section 3. Compatible
with upstream's fm_solvers_unipc.py. The predictor of order 2 is that of DPM-Solver++(2M).
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
from server.animation.samplers.flow_dpmpp import half_log_snr, predict


def schedule(steps: int, shift: float, constructor_shift: float) -> Schedule:
    """Returns evenly spaced noise levels, shifted; timesteps are whole numbers.

    They start from the highest of upstream's own table, 0.999 shifted by ``constructor_shift``.
    """
    highest = shifted(np.array([1 - 1 / TRAIN_TIMESTEPS], np.float32), constructor_shift).item()
    sigmas = shifted(np.linspace(highest, 0, steps + 1)[:-1], shift)
    return make_schedule(sigmas, timesteps=np.trunc(sigmas * TRAIN_TIMESTEPS))


def step(schedule: Schedule, state: State, velocity: Latents) -> State:
    """Takes one step down the schedule."""
    x = state.latents
    x0 = predict_x0(schedule, state, velocity)
    if state.corrected is not None:
        x = correct(schedule, state.step, state.corrected, x0, *state.denoised)
    latents = predict(schedule, state.step, x, x0, *state.denoised)
    return State(latents, state.step + 1, denoised=(x0, *state.denoised[:1]), corrected=x)


def correct(schedule: Schedule, step: int, x: Latents, x0: Latents, *earlier: Latents) -> Latents:
    """Returns better latents for this noise level, now that x0 has been predicted at it.

    Takes the step before once more, from its latents ``x``, at an order higher by one: x0 is
    carried on along its change to this level and, from the third step, along the one before too.
    The weights solve the paper's R rho = b, where h counts downwards and B(h) = e^h - 1.
    """
    sigmas = schedule.sigmas
    ratio = sigmas[step] / sigmas[step - 1]
    change = x0 - earlier[0]
    if step == 1:
        target = earlier[0] + 0.5 * change
    else:
        before, then, now = map(half_log_snr, sigmas[step - 2 : step + 1])
        h = then - now
        r = (then - before) / h
        b1 = 1 / h - 1 / math.expm1(h)
        b2 = 2 * b1 / h - 1 / math.expm1(h)
        rho = (b1 - b2) / (1 - r)
        change_before = earlier[1] - earlier[0]
        target = earlier[0] + rho / r * change_before + (b1 - rho) * change
    return target + ratio * (x - target)
