"""The plan of skipped evaluations is the pattern of calls that the authors' program made."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from server.animation.guidance import AUDIO, TEXT_AND_AUDIO, UNGUIDED, Branch, Guidance, branches
from server.animation.teacache import (
    Evaluation,
    Policy,
    StepPlan,
    TeaCache,
    plan,
    relative_distances,
)
from tests.support.reference import ReferenceFixture, assert_close, reference_numbers

TOLERANCE = 1e-4
DENOISERS = ["denoiser_flash", "denoiser_preview"]
POLICIES: list[Policy] = ["per_branch", "shared"]


def silu(x: NDArray[Any]) -> NDArray[Any]:
    return x / (1 + np.exp(-x))


def time_modulation(denoiser: ReferenceFixture, timesteps: NDArray[Any]) -> NDArray[Any]:
    """The denoiser's e0, [timesteps, 6, dim], from its weights."""
    weights = denoiser.weights()

    def linear(name: str, x: NDArray[Any]) -> NDArray[Any]:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    half = denoiser.config["transformer"]["freq_dim"] // 2
    angles = np.outer(timesteps.astype(np.float64), 10000.0 ** (-np.arange(half) / half))
    waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    e = linear("time_embedding.2", silu(linear("time_embedding.0", waves)))
    return linear("time_projection.1", silu(e)).reshape(len(timesteps), 6, -1)


def distances(denoiser: ReferenceFixture, timesteps: NDArray[Any]) -> tuple[float, ...]:
    return relative_distances(time_modulation(denoiser, timesteps))


def of_pipeline(fixture: ReferenceFixture) -> ReferenceFixture:
    """The denoiser that a pipeline of the reference was run with."""
    return reference_numbers(PurePath(fixture.config["models"]["transformer"]).name)


def computed(plans: Sequence[StepPlan], rows: Sequence[tuple[Branch, ...]]) -> list[bool]:
    """Whether each branch is computed, in the order of the authors' calls."""
    return [
        branch in step.compute for step, order in zip(plans, rows, strict=True) for branch in order
    ]


def from_config(teacache: dict[str, Any], policy: Policy) -> TeaCache:
    return TeaCache(
        policy=policy,
        threshold=teacache["rel_l1_thresh"],
        warm_up=teacache["num_skip_start_steps"],
        coefficients=tuple(teacache["coefficients"]),
    )


def from_pipeline(config: dict[str, Any], policy: Policy) -> TeaCache:
    return TeaCache(policy, config["teacache_threshold"], config["num_skip_start_steps"])


@pytest.mark.parametrize("folder", DENOISERS)
def test_the_time_modulation_of_these_tests_is_that_of_the_reference(folder: str) -> None:
    denoiser = reference_numbers(folder)
    names = [case["name"] for case in denoiser.config["cases"]]
    recorded = [name for name in names if f"{name}.e0" in denoiser.outputs]
    assert recorded
    for name in recorded:
        modulation = time_modulation(denoiser, denoiser.inputs[f"{name}.t"])
        assert_close(modulation, denoiser.outputs[f"{name}.e0"], TOLERANCE)


@pytest.mark.parametrize("folder", DENOISERS)
def test_distances_give_the_changes_that_the_denoisers_recorded(folder: str) -> None:
    denoiser = reference_numbers(folder)
    teacache = denoiser.config["teacache"]
    record = denoiser.config["recorded"]["teacache.single"]
    moved = distances(denoiser, denoiser.inputs["teacache.t"])
    assert len(moved) == teacache["num_steps"] - 1
    change = 0.0
    for step, ran in enumerate(record["blocks_computed"][:-1]):
        if step > 0:
            change += float(np.polyval(teacache["coefficients"], moved[step - 1]))
        change = 0.0 if ran else change
        assert change == pytest.approx(
            record["accumulated_after_call"][step], abs=TOLERANCE, rel=TOLERANCE
        )


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("folder", DENOISERS)
def test_one_call_a_step_skips_what_the_denoisers_skipped(folder: str, policy: Policy) -> None:
    denoiser = reference_numbers(folder)
    moved = distances(denoiser, denoiser.inputs["teacache.t"])
    rows = [UNGUIDED] * (len(moved) + 1)
    plans = plan(from_config(denoiser.config["teacache"], policy), rows, moved)
    record = denoiser.config["recorded"]["teacache.single"]
    assert computed(plans, rows) == record["blocks_computed"]
    assert not all(record["blocks_computed"])


def test_two_calls_a_step_skip_what_the_flash_denoiser_skipped() -> None:
    denoiser = reference_numbers("denoiser_flash")
    moved = distances(denoiser, denoiser.inputs["teacache.t"])
    rows = [AUDIO] * (len(moved) + 1)
    plans = plan(from_config(denoiser.config["teacache"], "shared"), rows, moved)
    record = denoiser.config["recorded"]["teacache.double"]
    assert computed(plans, rows) == record["blocks_computed"]


def flash_plans(
    fixture: ReferenceFixture, case: dict[str, Any]
) -> tuple[list[tuple[Branch, ...]], tuple[StepPlan, ...]] | None:
    """The branches and the plan of each step of a flash run, or None if it had no TeaCache."""
    args = fixture.config["default_args"] | case["args"]
    if not args["enable_teacache"]:
        return None
    timesteps = fixture.outputs[f"{case['name']}.timesteps"]
    guidance = Guidance(
        rows=AUDIO if args["guidance_scale"] > 1 else UNGUIDED, skip_ratio=args["cfg_skip_ratio"]
    )
    rows = [branches(guidance, step, len(timesteps)) for step in range(len(timesteps))]
    moved = distances(of_pipeline(fixture), timesteps)
    return rows, plan(from_pipeline(args, "shared"), rows, moved)


def test_flash_runs_skip_what_the_reference_skipped(subtests: pytest.Subtests) -> None:
    fixture = reference_numbers("pipeline_flash")
    cached = [case for case in fixture.config["cases"] if flash_plans(fixture, case)]
    assert cached
    for case in cached:
        with subtests.test(case["name"]):
            rows, plans = flash_plans(fixture, case) or ([], ())
            calls = fixture.config["recorded"][case["name"]]["transformer_calls"]
            assert computed(plans, rows) == [call["blocks_computed"] for call in calls]


def test_flash_branches_agree_where_and_only_where_they_share_a_residual(
    subtests: pytest.Subtests,
) -> None:
    fixture = reference_numbers("pipeline_flash")
    agreed = 0
    for case in fixture.config["cases"]:
        rows, plans = flash_plans(fixture, case) or ([], ())
        predictions = iter(fixture.outputs[f"{case['name']}.transformer_out"])
        for step, (order, of_step) in enumerate(zip(rows, plans, strict=True)):
            prediction = {branch: next(predictions) for branch in order}
            if order != AUDIO:
                continue
            speech, silence = (of_step.reuse.get(b, Evaluation(step, b)) for b in AUDIO)
            with subtests.test(case["name"], step=step):
                agree = np.allclose(
                    prediction[Branch.SPEECH],
                    prediction[Branch.SILENCE],
                    rtol=TOLERANCE,
                    atol=TOLERANCE,
                )
                assert agree == (speech == silence)
            agreed += speech == silence
    assert agreed


def test_preview_runs_skip_what_the_reference_skipped(subtests: pytest.Subtests) -> None:
    fixture = reference_numbers("pipeline_preview")
    windows = 0
    for case in fixture.config["cases"]:
        config = fixture.config["upstream_default_config"] | case["config"]
        if not config["enable_teacache"]:
            continue
        for index, window in enumerate(fixture.config["recorded"][case["name"]]["windows"]):
            with subtests.test(case["name"], window=index):
                timesteps = fixture.outputs[f"{case['name']}.w{index}.timesteps"]
                moved = distances(of_pipeline(fixture), timesteps)
                rows = [TEXT_AND_AUDIO if config["guidance_scale"] > 1 else UNGUIDED] * len(
                    timesteps
                )
                plans = plan(from_pipeline(config, "per_branch"), rows, moved)
                ran = [call["blocks_computed"] for call in window["transformer_calls"]]
                assert [bool(step.compute) for step in plans] == ran
                assert all(
                    step.compute in ((), order) for step, order in zip(plans, rows, strict=True)
                )
            windows += 1
    assert windows


def random_plans(
    seed: int, policy: Policy
) -> tuple[list[tuple[Branch, ...]], tuple[StepPlan, ...]]:
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(1, 30))
    guidance = Guidance(rows=AUDIO, skip_ratio=float(rng.choice([0.0, 0.4])))
    rows = [branches(guidance, step, steps) for step in range(steps)]
    settings = TeaCache(policy, warm_up=int(rng.integers(1, steps + 1)), coefficients=(1.0, 0.0))
    return rows, plan(settings, rows, rng.uniform(0, 0.1, steps - 1).tolist())


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(20))
def test_every_residual_is_held_from_its_evaluation_to_its_last_reuse_and_no_longer(
    seed: int, policy: Policy
) -> None:
    rows, plans = random_plans(seed, policy)
    held: set[Evaluation] = set()
    for step, (order, of_step) in enumerate(zip(rows, plans, strict=True)):
        assert {*of_step.compute, *of_step.reuse} == set(order)
        held |= {Evaluation(step, branch) for branch in of_step.compute}
        assert of_step.hold <= held
        held &= of_step.hold
        assert set(of_step.reuse.values()) <= held
        reused_later = {source for later in plans[step:] for source in later.reuse.values()}
        assert held <= reused_later


@pytest.mark.parametrize("seed", range(20))
def test_per_branch_never_gives_a_branch_the_residual_of_another(seed: int) -> None:
    _, plans = random_plans(seed, "per_branch")
    for step, of_step in enumerate(plans):
        assert not of_step.compute or not of_step.reuse
        for branch, source in of_step.reuse.items():
            assert source.branch is branch
            assert source.step < step
            assert branch in plans[source.step].compute
            assert not any(later.compute for later in plans[source.step + 1 : step])


def test_skipping_lasts_until_the_sum_of_changes_reaches_the_threshold() -> None:
    settings = TeaCache(threshold=0.1, warm_up=2, coefficients=(1.0, 0.0))
    moved = [9.0, 0.06, 0.03, 0.02, 0.05, 0.05, 0.2]
    plans = plan(settings, [UNGUIDED] * 8, moved)
    assert [bool(step.compute) for step in plans] == [
        *(True, True),
        *(False, False, True),
        *(False, True),
        True,
    ]


@pytest.mark.parametrize("warm_up", [0, 5])
def test_a_warm_up_that_does_not_fit_the_steps_is_refused(warm_up: int) -> None:
    with pytest.raises(ValueError, match=f"warm-up of {warm_up} evaluations for 4 steps"):
        plan(TeaCache(warm_up=warm_up), [UNGUIDED] * 4, [0.1] * 3)


def test_a_wrong_number_of_distances_is_refused() -> None:
    with pytest.raises(ValueError, match="4 distances for 4 steps"):
        plan(TeaCache(warm_up=1), [UNGUIDED] * 4, [0.1] * 4)
