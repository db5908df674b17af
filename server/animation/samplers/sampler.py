"""One sampler, chosen by name: what the denoising loop calls.

state = sampler.start(noise)
for timestep in sampler.timesteps:
    state = sampler.step(state, velocity(state.latents, timestep))
latents = state.latents
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from server.animation.samplers import flow_dpmpp, flow_euler, flow_unipc
from server.animation.samplers.flow import Latents, Schedule, State

SamplerName = Literal["flow_euler", "flow_unipc", "flow_dpmpp"]


@dataclass(frozen=True, slots=True)
class Sampler:
    """A schedule and the rule for a step down it. Holds no state: many runs may share one."""

    schedule: Schedule
    advance: Callable[[Schedule, State, Latents], State]

    @property
    def timesteps(self) -> tuple[float, ...]:
        """What the network is told at each step."""
        return self.schedule.timesteps

    def start(self, noise: Latents) -> State:
        """Returns the state of a run that begins with some noise, of any shape."""
        return State(noise)

    def step(self, state: State, velocity: Latents) -> State:
        """Returns the state after one step.

        Args:
            state: the run so far; it is not changed.
            velocity: the prediction of the network for ``state.latents``, of their shape.
        """
        return self.advance(self.schedule, state, velocity)


def make_sampler(
    name: SamplerName, *, steps: int, shift: float, constructor_shift: float = 1.0
) -> Sampler:
    """Returns a sampler.

    Args:
        name: which one.
        steps: how often the network is asked, at least 1.
        shift: how far noise levels are moved towards noise, above 0; upstream uses 5.
        constructor_shift: a shift that has been applied before: none (1) in upstream's flash, 5 in
            its preview. The Euler sampler applies ``shift`` twice and ignores this; upstream's
            knows the 5 of its configuration only.

    Raises:
        ValueError: steps or a shift is out of range.
    """
    if steps < 1 or shift <= 0 or constructor_shift <= 0:
        raise ValueError(f"no schedule of {steps} steps with shifts {constructor_shift}, {shift}")
    match name:
        case "flow_euler":
            sampler = flow_euler
        case "flow_unipc":
            sampler = flow_unipc
        case "flow_dpmpp":
            sampler = flow_dpmpp
    return Sampler(sampler.schedule(steps, shift, constructor_shift), sampler.step)
