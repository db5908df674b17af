"""umT5 against the authors' program."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch

from export.checkpoint.errors import CheckpointMismatchError
from export.models.text_encoder import TextEncoder, load_text_encoder
from tests.support.reference import ReferenceFixture, assert_close, reference_numbers

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def fixture() -> ReferenceFixture:
    return reference_numbers("text_encoder")


def weights(fixture: ReferenceFixture) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(array) for key, array in fixture.weights().items()}


def recorder(seen: dict[str, torch.Tensor], name: str) -> Callable[[Any, Any, Any], None]:
    def record(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
        seen[name] = output

    return record


def encode(fixture: ReferenceFixture, case: str) -> tuple[Any, dict[str, torch.Tensor]]:
    encoder = load_text_encoder(weights(fixture), fixture.config["model"])
    seen: dict[str, torch.Tensor] = {}
    for index, block in enumerate(encoder.encoder.block):
        block.register_forward_hook(recorder(seen, f"block{index}"))
    ids = torch.from_numpy(fixture.inputs[f"{case}.ids"])
    mask = torch.from_numpy(fixture.inputs[f"{case}.mask"])
    with torch.inference_mode():
        text = TextEncoder(encoder)(ids, mask)
    seen["embeds"] = text
    attention = cast("Any", encoder.encoder.block[0]).layer[0].SelfAttention
    seen["pos_bias_block0"] = attention.compute_bias(ids.shape[1], ids.shape[1])
    return mask.numpy(), seen


def test_every_stage_equals_the_reference(
    fixture: ReferenceFixture, subtests: pytest.Subtests
) -> None:
    for key, expected in fixture.outputs.items():
        case, _, name = key.partition(".")
        mask, seen = encode(fixture, case)
        with subtests.test(msg=key):
            actual = seen[name].numpy()
            if name == "embeds":
                # The reference may store the first positions only, and keeps what is masked.
                visible = mask[:, : expected.shape[1], None]
                actual, expected = actual[:, : expected.shape[1]] * visible, expected * visible
            assert_close(actual, expected, TOLERANCE)


def test_text_behind_the_mask_is_zero(fixture: ReferenceFixture) -> None:
    mask, seen = encode(fixture, fixture.config["cases"][0])
    assert not seen["embeds"].numpy()[mask == 0].any()


def test_a_renamed_key_is_caught_by_name(fixture: ReferenceFixture) -> None:
    renamed = weights(fixture)
    renamed["blocks.0.attn.query.weight"] = renamed.pop("blocks.0.attn.q.weight")
    with pytest.raises(CheckpointMismatchError, match=r"blocks\.0\.attn\.query\.weight"):
        load_text_encoder(renamed, fixture.config["model"])


def test_a_mask_changes_the_text(fixture: ReferenceFixture) -> None:
    case = fixture.config["cases"][0]
    encoder = TextEncoder(load_text_encoder(weights(fixture), fixture.config["model"]))
    ids = torch.from_numpy(fixture.inputs[f"{case}.ids"])
    with torch.inference_mode():
        all_of_it = encoder(ids, torch.ones_like(ids)).numpy()
        half = torch.ones_like(ids)
        half[:, ids.shape[1] // 2 :] = 0
        some = encoder(ids, half).numpy()
    assert np.abs(all_of_it[:, 0] - some[:, 0]).max() > TOLERANCE
