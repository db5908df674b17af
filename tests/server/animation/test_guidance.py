"""Guidance combines the branches of a step as the authors' two pipelines do."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from server.animation.guidance import (
    AUDIO,
    TEXT_AND_AUDIO,
    UNGUIDED,
    Branch,
    Guidance,
    branches,
    guided,
    negative_factor,
    scale_at,
)
from tests.support.reference import assert_close, reference_numbers

TOLERANCE = 1e-5
EMBEDDING_TOLERANCE = 1e-4


def flash_guidance(args: dict[str, Any]) -> Guidance:
    return Guidance(
        rows=AUDIO if args["guidance_scale"] > 1 else UNGUIDED,
        audio_scale=args["audio_guidance_scale"],
        skip_ratio=args["cfg_skip_ratio"],
    )


def preview_guidance(config: dict[str, Any]) -> Guidance:
    return Guidance(
        rows=TEXT_AND_AUDIO if config["guidance_scale"] > 1 else UNGUIDED,
        text_scale=config["guidance_scale"],
        audio_scale=config["audio_guidance_scale"],
        dynamic_text=config["use_dynamic_cfg"],
        dynamic_audio=config["use_dynamic_acfg"],
        negative_scale=config["neg_scale"],
        negative_steps=config["neg_steps"],
        skip_ratio=config["cfg_skip_ratio"],
    )


def test_flash_velocities_are_those_of_the_reference(subtests: pytest.Subtests) -> None:
    fixture = reference_numbers("pipeline_flash")
    assert fixture.config["cases"]
    for case in fixture.config["cases"]:
        args = fixture.config["default_args"] | case["args"]
        guidance, steps = flash_guidance(args), args["num_inference_steps"]
        calls = fixture.config["recorded"][case["name"]]["transformer_calls"]
        predictions = fixture.outputs[f"{case['name']}.transformer_out"]
        call = 0
        for step, expected in enumerate(fixture.outputs[f"{case['name']}.noise_pred"]):
            rows = branches(guidance, step, steps)
            with subtests.test(case["name"], step=step):
                taken = slice(call, call + len(rows))
                silent = [branch is Branch.SILENCE for branch in rows]
                assert [recorded["audio_is_zero"] for recorded in calls[taken]] == silent
                batch = np.concatenate(list(predictions[taken]))
                assert_close(guided(guidance, batch, step, steps), expected, TOLERANCE)
            call += len(rows)
        assert call == len(calls)


def test_preview_velocities_are_those_of_the_reference(subtests: pytest.Subtests) -> None:
    fixture = reference_numbers("pipeline_preview")
    compared = 0
    for case in fixture.config["cases"]:
        config = fixture.config["upstream_default_config"] | case["config"]
        guidance, steps = preview_guidance(config), config["num_inference_steps"]
        calls = fixture.config["recorded"][case["name"]]["windows"][0]["transformer_calls"]
        velocities = fixture.outputs.get(f"{case['name']}.w0.noise_pred", np.empty(0))
        for step, expected in enumerate(velocities):
            with subtests.test(case["name"], step=step):
                assert calls[step]["batch"] == len(branches(guidance, step, steps))
                batch = fixture.outputs.get(f"{case['name']}.w0.transformer_out{step}")
                if batch is not None:
                    assert_close(guided(guidance, batch, step, steps), expected, TOLERANCE)
                    compared += 1
    assert compared


def test_the_negative_prompt_is_scaled_as_in_the_reference(subtests: pytest.Subtests) -> None:
    fixture = reference_numbers("pipeline_preview")
    unscaled: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for case in fixture.config["cases"]:
        config = fixture.config["upstream_default_config"] | case["config"]
        guidance = preview_guidance(config)
        key = f"{case['name']}.w0.negative_prompt_embeds_steps"
        for step, embeddings in enumerate(fixture.outputs.get(key, np.empty(0))):
            unscaled[config["negative_prompt"]].append(embeddings / negative_factor(guidance, step))
    assert unscaled
    for prompt, embeddings in unscaled.items():
        with subtests.test(prompt):
            for other in embeddings[1:]:
                assert_close(other, embeddings[0], EMBEDDING_TOLERANCE)


@pytest.mark.parametrize("rows", [UNGUIDED, AUDIO, TEXT_AND_AUDIO])
def test_scales_of_one_leave_the_prediction_with_prompt_and_audio(
    rows: tuple[Branch, ...],
) -> None:
    velocities = np.random.default_rng(0).standard_normal((len(rows), 16, 2, 4, 4), np.float32)
    velocity = guided(Guidance(rows=rows), velocities, step=0, steps=4)
    speech = rows.index(Branch.SPEECH)
    assert_close(velocity, velocities[speech : speech + 1], TOLERANCE)
    assert velocity.dtype == np.float32


def test_a_dynamic_scale_falls_from_its_value_to_half_of_it() -> None:
    scales = [scale_at(4.0, True, step, 1000) for step in range(1000)]
    assert scales[0] == 4.0
    assert scales == sorted(scales, reverse=True)
    assert scales[-1] == pytest.approx(2.0)
    assert scale_at(4.0, False, 999, 1000) == 4.0


def test_the_negative_factor_grows_until_negative_steps_and_then_stays() -> None:
    guidance = Guidance(rows=TEXT_AND_AUDIO, negative_scale=1.5, negative_steps=2)
    assert [negative_factor(guidance, step) for step in range(5)] == [1.5, 2.25, *[3.375] * 3]


def test_the_last_steps_are_not_guided_where_a_part_is_skipped() -> None:
    guidance = Guidance(rows=AUDIO, skip_ratio=0.3)
    guided_steps = [branches(guidance, step, 10) == AUDIO for step in range(10)]
    assert guided_steps == [True] * 7 + [False] * 3


def test_a_missing_branch_is_refused() -> None:
    velocities = np.zeros((2, 16, 1, 2, 2), np.float32)
    with pytest.raises(ValueError, match="2 velocities for 3 branches"):
        guided(Guidance(rows=TEXT_AND_AUDIO), velocities, step=0, steps=4)
