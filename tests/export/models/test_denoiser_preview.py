"""The preview denoiser against the numbers of the authors' program."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from export.checkpoint.errors import CheckpointMismatchError
from export.models.denoiser.audio_preview import gather_windows
from server.audio.token_windows import PADDING, window_index
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
    stored_steps,
    teacache_case,
    teacache_outputs,
)
from tests.support.reference import ReferenceFixture, assert_close, reference_fixture

MARGIN = 4
"""Tokens that the authors add on either side of the ranges that the reference records."""


@pytest.fixture(scope="module")
def fixture(reference: Path) -> ReferenceFixture:
    return reference_fixture("denoiser_preview")


@pytest.fixture(scope="module")
def weights(fixture: ReferenceFixture) -> dict[str, Tensor]:
    return checkpoint(fixture)


def audio_index(case: Case) -> Tensor:
    batch, tokens, _ = case.inputs["audio_embeds"].shape
    return torch.from_numpy(window_index(tokens)).expand(batch, -1, -1)


def context(case: Case) -> tuple[Tensor, ...]:
    """What the denoiser takes besides latents, condition and timestep."""
    batch, _, _, height, width = case.inputs["x"].shape
    mask = case.inputs["ip_mask"].unflatten(1, (height // 2, width // 2))
    return (
        case.text,
        case.inputs["clip_fea"],
        case.inputs["audio_embeds"],
        audio_index(case),
        # The authors ignore a mask whose rows are not those of the batch.
        mask if len(mask) == batch else torch.ones(batch, *mask.shape[1:]),
        torch.full((batch, 1), case.settings["scale"]),
    )


def arguments(case: Case) -> tuple[Tensor, ...]:
    return (case.inputs["x"], case.inputs["y"], case.inputs["t"][:, None], *context(case))


def test_every_stored_tensor_equals_the_reference(fixture, weights, subtests):
    for case in cases(fixture):
        denoiser = load(fixture, weights, case.riflex)
        names = case.outputs.keys() - FREQUENCIES.keys()
        recorded = record(denoiser, names, arguments(case))
        windows = gather_windows(torch.from_numpy(recorded["audio_tokens"]), audio_index(case))
        recorded["audio_windows"] = windows[-1:].numpy()
        for name in names:
            with subtests.test(case=case.settings["name"], tensor=name):
                assert_close(recorded[name], case.outputs[name], TOLERANCE)


def test_windows_hold_the_tokens_that_the_authors_choose(fixture, subtests):
    for case in cases(fixture):
        recorded = fixture.config["recorded"][case.settings["name"]]
        index = audio_index(case)[0].numpy()
        starts = np.array(recorded["pos_idx_ranges"])[:, 0] - MARGIN
        with subtests.test(case=case.settings["name"]):
            np.testing.assert_array_equal((index != PADDING).sum(axis=1), recorded["k_lens"])
            np.testing.assert_array_equal(index[:, 0], starts.clip(min=0))
            assert (np.diff(index, axis=1)[index[:, 1:] != PADDING] == 1).all()


def test_a_clip_too_short_for_two_latent_frames_is_refused():
    assert len(window_index(10)) == 2
    with pytest.raises(ValueError, match="10 audio tokens or more, got 9"):
        window_index(9)


def test_riflex_slows_the_temporal_frequency_as_the_authors_do(fixture, weights):
    (case,) = (case for case in cases(fixture) if case.riflex)
    denoiser = load(fixture, weights, case.riflex)
    for name, table in FREQUENCIES.items():
        expected = case.outputs[name]
        positions, pairs = expected.shape
        assert_close(denoiser.get_buffer(table)[:positions, :pairs].numpy(), expected, 1e-6)


def test_calls_that_reuse_a_residual_equal_the_reference(fixture, weights):
    case = teacache_case(fixture)
    velocities = teacache_outputs(
        load(fixture, weights),
        case,
        fixture.config["recorded"]["teacache.single"]["blocks_computed"],
        1,
        lambda _call: context(case),
    )
    stored = np.stack([velocities[step] for step in stored_steps(fixture)])
    assert_close(stored, case.outputs["single.out"], TOLERANCE)


def test_a_checkpoint_with_any_key_renamed_is_refused_by_that_name(fixture, weights, subtests):
    for key in weights:
        renamed = {**weights, f"{key}.renamed": weights[key]}
        del renamed[key]
        with (
            subtests.test(key=key),
            pytest.raises(CheckpointMismatchError, match=rf"{re.escape(key)}\b"),
        ):
            load(fixture, renamed)


def test_at_the_public_sizes_it_has_the_public_number_of_parameters():
    config = public_config({"audio2token.proj.weight": (1536, 768)})
    assert (config.variant, config.audio_dim) == ("preview", 768)
    assert count_parameters(config) == (1_707_215_168, 1076)
