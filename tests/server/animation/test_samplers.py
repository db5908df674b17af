"""The samplers give the schedules and trajectories of the authors' program, at any step count."""

from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from server.animation.samplers.flow import Latents, State
from server.animation.samplers.sampler import Sampler, SamplerName, make_sampler
from tests.support.reference import ReferenceFixture, assert_close, reference_numbers

NAMES: tuple[SamplerName, ...] = get_args(SamplerName)
UPSTREAM: dict[str, SamplerName] = {
    "Flow": "flow_euler",
    "Flow_Unipc": "flow_unipc",
    "Flow_DPM++": "flow_dpmpp",
}
TOLERANCE = 1e-5


def upstream_sampler(
    name: str, *, steps: int, call_shift: float, constructor_shift: float
) -> Sampler:
    """Upstream's Euler scheduler knows only the shift of its constructor."""
    shift = constructor_shift if name == "Flow" else call_shift
    return make_sampler(
        UPSTREAM[name], steps=steps, shift=shift, constructor_shift=constructor_shift
    )


def recorded_runs(fixture: ReferenceFixture) -> list[tuple[str, Sampler]]:
    runs = [
        (
            f"{variant['name']}.n{steps}",
            upstream_sampler(
                variant["sampler"],
                steps=steps,
                call_shift=variant["call_shift"],
                constructor_shift=variant["constructor_shift"],
            ),
        )
        for variant in fixture.config["variants"]
        for steps in fixture.config["steps"]
    ]
    assert runs
    return runs


def test_schedules_are_those_of_the_reference(subtests: pytest.Subtests) -> None:
    fixture = reference_numbers("samplers")
    for key, sampler in recorded_runs(fixture):
        with subtests.test(key):
            timesteps = fixture.outputs[f"{key}.timesteps"]
            if np.issubdtype(timesteps.dtype, np.integer):
                assert sampler.timesteps == tuple(timesteps.tolist())
            assert_close(np.array(sampler.timesteps), timesteps, TOLERANCE)
            assert_close(
                np.array(sampler.schedule.sigmas), fixture.outputs[f"{key}.sigmas"], TOLERANCE
            )


def test_trajectories_are_those_of_the_reference(subtests: pytest.Subtests) -> None:
    fixture = reference_numbers("samplers")
    model = fixture.config["fake_model"]
    for key, sampler in recorded_runs(fixture):
        with subtests.test(key):
            state = sampler.start(fixture.inputs["init_sample"])
            trajectory, velocities = [state.latents], []
            for timestep in sampler.timesteps:
                velocity = np.tanh(state.latents * model["a"] + timestep * model["b"])
                state = sampler.step(state, velocity)
                trajectory.append(state.latents)
                velocities.append(velocity)
            assert_close(np.stack(trajectory), fixture.outputs[f"{key}.trajectory"], TOLERANCE)
            assert state.latents.dtype == np.float32
            if f"{key}.model_out" in fixture.outputs:
                assert_close(np.stack(velocities), fixture.outputs[f"{key}.model_out"], TOLERANCE)


def recorded_pipelines(folder: str) -> list[tuple[ReferenceFixture, str, dict[str, Any], float]]:
    """Every window with a velocity for each step: its key, arguments and constructor shift."""
    fixture = reference_numbers(folder)
    built_with = reference_numbers("samplers").config["scheduler_kwargs"]["shift"]
    defaults = fixture.config.get("default_args") or fixture.config["upstream_default_config"]
    windows = []
    for case in fixture.config["cases"]:
        args = {**defaults, **case.get("args", {}), **case.get("config", {})}
        resets_shift = folder == "pipeline_flash" and args["sampler_name"] != "Flow"
        windows += [
            (fixture, key.removesuffix(".noise_pred"), args, 1.0 if resets_shift else built_with)
            for key in fixture.outputs
            if key.startswith(f"{case['name']}.") and key.endswith(".noise_pred")
        ]
    assert windows
    return windows


@pytest.mark.parametrize("folder", ["pipeline_flash", "pipeline_preview"])
def test_latents_of_the_pipelines_follow_from_their_velocities(
    folder: str, subtests: pytest.Subtests
) -> None:
    for fixture, key, args, constructor_shift in recorded_pipelines(folder):
        with subtests.test(key):
            sampler = upstream_sampler(
                args["sampler_name"],
                steps=args["num_inference_steps"],
                call_shift=args["shift"],
                constructor_shift=constructor_shift,
            )
            assert_close(
                np.array(sampler.timesteps), fixture.outputs[f"{key}.timesteps"], TOLERANCE
            )
            state = sampler.start(fixture.inputs[f"{key}.init_latents"])
            latents = []
            for velocity in fixture.outputs[f"{key}.noise_pred"]:
                state = sampler.step(state, velocity)
                latents.append(state.latents)
            assert_close(np.stack(latents), fixture.outputs[f"{key}.latents_steps"], TOLERANCE)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("name", NAMES)
def test_a_constant_velocity_ends_at_the_clean_latents(name: SamplerName, steps: int) -> None:
    sampler = make_sampler(name, steps=steps, shift=5.0)
    noise, x0 = np.random.default_rng(0).standard_normal((2, 1, 16, 3, 4, 4), np.float32)
    sigma = sampler.schedule.sigmas[0]
    state = sampler.start(((1 - sigma) * x0 + sigma * noise).astype(np.float32))
    for _ in sampler.timesteps:
        state = sampler.step(state, noise - x0)
    assert_close(state.latents, x0, TOLERANCE)


def gaussian_run_error(sampler: Sampler) -> float:
    """Returns the largest error in sampling N(mean, spread^2), whose exact flow is known."""
    mean, spread = 0.7, 0.2
    noise = np.linspace(-2, 2, 9).astype(np.float32)

    def exact(sigma: float) -> NDArray[np.floating[Any]]:
        return (1 - sigma) * mean + np.hypot((1 - sigma) * spread, sigma) * noise

    def velocity(x: Latents, sigma: float) -> Latents:
        variance = ((1 - sigma) * spread) ** 2 + sigma**2
        centred = x - (1 - sigma) * mean
        return (sigma - (1 - sigma) * spread**2) / variance * centred - mean

    sigmas = sampler.schedule.sigmas
    state = State(exact(sigmas[0]))
    for sigma in sigmas[:-1]:
        state = sampler.step(state, velocity(state.latents, sigma))
    return float(np.abs(state.latents - exact(0.0)).max())


@pytest.mark.parametrize("name", NAMES)
def test_more_steps_come_closer_to_the_exact_flow_of_a_gaussian(name: SamplerName) -> None:
    errors = [gaussian_run_error(make_sampler(name, steps=n, shift=1.0)) for n in (5, 20, 80)]
    assert errors[2] < errors[1] / 2 < errors[0] / 4
    assert errors[2] < 0.02


def test_the_samplers_of_second_order_are_closer_than_euler_at_equal_steps() -> None:
    errors = {name: gaussian_run_error(make_sampler(name, steps=20, shift=1.0)) for name in NAMES}
    assert errors["flow_dpmpp"] < errors["flow_euler"] / 2
    assert errors["flow_unipc"] < errors["flow_euler"] / 2


@pytest.mark.parametrize("name", NAMES)
def test_a_step_leaves_its_state_unchanged_so_that_it_can_be_retried(name: SamplerName) -> None:
    sampler = make_sampler(name, steps=4, shift=5.0)
    rng = np.random.default_rng(1)
    noise, *velocities = rng.standard_normal((4, 2, 3), np.float32)
    state = sampler.start(noise)
    for velocity in velocities:
        before = state.latents.copy()
        first, second = sampler.step(state, velocity), sampler.step(state, velocity)
        np.testing.assert_array_equal(state.latents, before)
        np.testing.assert_array_equal(first.latents, second.latents)
        state = first


@pytest.mark.parametrize(("steps", "shift"), [(0, 5.0), (-1, 5.0), (4, 0.0), (4, -1.0)])
@pytest.mark.parametrize("name", NAMES)
def test_a_schedule_that_cannot_be_is_refused(name: SamplerName, steps: int, shift: float) -> None:
    with pytest.raises(ValueError, match="no schedule"):
        make_sampler(name, steps=steps, shift=shift)
