"""The flash denoiser against the numbers of the authors' program."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from export.checkpoint.errors import CheckpointMismatchError
from export.models.denoiser.config import DenoiserConfig
from export.models.denoiser.model import load_denoiser
from export.precision.policy import Precision
from tests.support.denoiser_reference import (
    FREQUENCIES,
    TOLERANCE,
    Case,
    cases,
    checkpoint,
    count_parameters,
    load,
    public_config,
    record,
    shapes,
    stored_steps,
    teacache_case,
    teacache_outputs,
)
from tests.support.reference import ReferenceFixture, assert_close, reference_fixture

ROUNDING: dict[Precision, float] = {"fp16": 2**-11, "bf16": 2**-8, "int8": 2**-7}


@pytest.fixture(scope="module")
def fixture(reference: Path) -> ReferenceFixture:
    return reference_fixture("denoiser_flash")


@pytest.fixture(scope="module")
def weights(fixture: ReferenceFixture) -> dict[str, Tensor]:
    return checkpoint(fixture)


def arguments(case: Case) -> tuple[Tensor, ...]:
    inputs = case.inputs
    return (
        inputs["x"],
        inputs["y"],
        inputs["t"][:, None],
        case.text,
        inputs["clip_fea"],
        inputs["audio_embeds"],
    )


def test_every_stored_tensor_equals_the_reference(fixture, weights, subtests):
    for case in cases(fixture):
        denoiser = load(fixture, weights, case.riflex)
        names = case.outputs.keys() - FREQUENCIES.keys()
        recorded = record(denoiser, names, arguments(case))
        for name in names:
            with subtests.test(case=case.settings["name"], tensor=name):
                assert_close(recorded[name], case.outputs[name], TOLERANCE)


def test_riflex_slows_the_temporal_frequency_as_the_authors_do(fixture, weights):
    (case,) = (case for case in cases(fixture) if case.riflex)
    denoiser = load(fixture, weights, case.riflex)
    for name, table in FREQUENCIES.items():
        expected = case.outputs[name]
        positions, pairs = expected.shape
        assert_close(denoiser.get_buffer(table)[:positions, :pairs].numpy(), expected, 1e-6)


def test_calls_that_reuse_a_residual_equal_the_reference(fixture, weights, subtests):
    case = teacache_case(fixture)
    denoiser = load(fixture, weights)
    audio = case.inputs["audio_embeds"]
    fixed = (case.text, case.inputs["clip_fea"])
    plans = {name: fixture.config["recorded"][f"teacache.{name}"] for name in ("single", "double")}

    with subtests.test("one call a step"):
        velocities = teacache_outputs(
            denoiser, case, plans["single"]["blocks_computed"], 1, lambda call: (*fixed, audio)
        )
        stored = np.stack([velocities[step] for step in stored_steps(fixture)])
        assert_close(stored, case.outputs["single.out"], TOLERANCE)

    with subtests.test("with audio and without in turn"):
        expected = case.outputs["double.out"]
        velocities = teacache_outputs(
            denoiser,
            case,
            plans["double"]["blocks_computed"][: len(expected)],
            2,
            lambda call: (*fixed, audio if call % 2 == 0 else torch.zeros_like(audio)),
        )
        assert_close(np.stack(velocities), expected, TOLERANCE)


@pytest.mark.parametrize("precision", ROUNDING)
def test_narrow_weights_err_by_little_more_than_rounding(fixture, weights, precision, subtests):
    for case in cases(fixture):
        denoiser = load(fixture, weights, case.riflex, precision)
        with subtests.test(case=case.settings["name"]):
            recorded = record(denoiser, {"e", "e0"}, arguments(case))
            error = recorded["out"] - case.outputs["out"]
            relative = np.linalg.norm(error) / np.linalg.norm(case.outputs["out"])
            assert relative < 2 * ROUNDING[precision]
            assert_close(recorded["e"], case.outputs["e"], TOLERANCE)
            assert_close(recorded["e0"], case.outputs["e0"], TOLERANCE)


def test_text_padded_with_zeros_by_the_caller_is_the_same_text(fixture, weights):
    case = next(cases(fixture))
    denoiser = load(fixture, weights)
    missing = denoiser.config.text_len - case.text.shape[1]
    latents, condition, timestep, text, *others = arguments(case)
    padded = torch.nn.functional.pad(text, (0, 0, 0, missing))
    expected, _ = denoiser.evaluate(latents, condition, timestep, text, *others)
    actual, _ = denoiser.evaluate(latents, condition, timestep, padded, *others)
    assert missing > 0
    np.testing.assert_array_equal(actual, expected)


def test_a_checkpoint_with_any_key_renamed_is_refused_by_that_name(fixture, weights, subtests):
    for key in weights:
        renamed = {**weights, f"{key}.renamed": weights[key]}
        del renamed[key]
        with (
            subtests.test(key=key),
            pytest.raises(CheckpointMismatchError, match=rf"{re.escape(key)}\b"),
        ):
            load(fixture, renamed)


def test_weights_of_the_right_type_are_not_copied(fixture, weights):
    denoiser = load(fixture, weights)
    parameters = dict(denoiser.named_parameters())
    assert parameters.keys() == weights.keys()
    assert all(parameters[key].data_ptr() == weights[key].data_ptr() for key in weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qk_norm": False}, "qk_norm is False"),
        ({"model_type": "t2v"}, "model_type is 't2v'"),
        ({"num_layers": 1}, r"blocks\.1\."),
        ({"ffn_dim": 8}, r"of another shape: blocks\.0\.ffn\.0\.weight"),
    ],
)
def test_a_config_that_contradicts_the_weights_is_refused(fixture, weights, change, message):
    changed = {**fixture.config["transformer"], **change}
    with pytest.raises(CheckpointMismatchError, match=message):
        load_denoiser(DenoiserConfig.from_checkpoint(changed, shapes(weights)), weights)


@pytest.mark.parametrize("name", ["dim", "ffn_dim", "num_heads", "num_layers", "in_dim"])
def test_a_config_without_a_size_is_refused(fixture, weights, name):
    incomplete = {key: value for key, value in fixture.config["transformer"].items() if key != name}
    with pytest.raises(CheckpointMismatchError, match=f"{name} is missing"):
        DenoiserConfig.from_checkpoint(incomplete, shapes(weights))


def test_a_checkpoint_of_neither_variant_is_refused(fixture, weights):
    bare = {key: value for key, value in weights.items() if "audio_injection" not in key}
    with pytest.raises(
        CheckpointMismatchError, match=r"neither audio_injection\.\* nor audio2token"
    ):
        load(fixture, bare)


def test_at_the_public_sizes_it_has_the_public_number_of_parameters():
    config = public_config(
        {
            "audio_injection.proj1.weight": (512, 5 * 12 * 768),
            "audio_injection.proj3.weight": (32 * 1536, 512),
        }
    )
    assert (config.variant, config.audio_dim, config.audio_tokens) == ("flash", 768, 32)
    assert count_parameters(config) == (1_863_772_992, 1203)
