"""CLIP's image tower against the authors' program."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from export.checkpoint.errors import CheckpointMismatchError
from export.models.image_encoder import ImageEncoder, load_image_encoder, public_tensors
from tests.support.reference import ReferenceFixture, assert_close, reference_fixture

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def fixture() -> ReferenceFixture:
    return reference_fixture("image_encoder")


def weights(fixture: ReferenceFixture) -> dict[str, Tensor]:
    return {key: torch.from_numpy(array) for key, array in fixture.weights().items()}


def recorder(seen: dict[str, Tensor], name: str) -> Callable[[Any, Any, Tensor], None]:
    def record(_module: Any, _inputs: Any, output: Tensor) -> None:
        seen[name] = output

    return record


def encode(fixture: ReferenceFixture, case: str) -> dict[str, Tensor]:
    encoder = ImageEncoder(load_image_encoder(weights(fixture), fixture.config["model"]))
    seen: dict[str, Tensor] = {}
    stages = {"pre_norm": encoder.pre_norm} | {
        f"block{index}": block for index, block in enumerate(encoder.blocks)
    }
    for name, module in stages.items():
        module.register_forward_hook(recorder(seen, name))
    image = torch.from_numpy(fixture.inputs[f"{case}.image_u8"])[None]
    with torch.inference_mode():
        seen["out"] = encoder(image)
        seen["preprocessed"] = encoder.preprocess(image)
    return seen


def test_every_stage_equals_the_reference(
    fixture: ReferenceFixture, subtests: pytest.Subtests
) -> None:
    for case in fixture.config["cases"]:
        seen = encode(fixture, case)
        stages = [key for key in fixture.outputs if key.startswith(f"{case}.")]
        assert stages
        for key in stages:
            with subtests.test(msg=key):
                actual = seen[key.removeprefix(f"{case}.")].numpy()
                assert_close(actual, fixture.outputs[key], TOLERANCE)


def test_pictures_of_a_batch_do_not_touch_each_other(fixture: ReferenceFixture) -> None:
    encoder = ImageEncoder(load_image_encoder(weights(fixture), fixture.config["model"]))
    one = torch.from_numpy(fixture.inputs[f"{fixture.config['cases'][0]}.image_u8"])
    with torch.inference_mode():
        both = encoder(torch.stack([one, one.flip(0)]))
        assert_close(both[1:].numpy(), encoder(one.flip(0)[None]).numpy(), TOLERANCE)


def test_a_renamed_key_is_caught_by_name(fixture: ReferenceFixture) -> None:
    renamed = weights(fixture)
    renamed["visual.transformer.0.attn.qkv.weight"] = renamed.pop(
        "visual.transformer.0.attn.to_qkv.weight"
    )
    with pytest.raises(CheckpointMismatchError, match=r"visual\.transformer\.0\.attn\.qkv\.weight"):
        load_image_encoder(renamed, fixture.config["model"])


def test_a_tensor_of_another_shape_is_caught_by_name(fixture: ReferenceFixture) -> None:
    turned = weights(fixture)
    turned["visual.transformer.0.mlp.0.weight"] = turned["visual.transformer.0.mlp.0.weight"].T
    with pytest.raises(CheckpointMismatchError, match=r"mlp\.0\.weight has shape"):
        load_image_encoder(turned, fixture.config["model"])


def test_tensors_go_back_to_the_checkpoints_names(fixture: ReferenceFixture) -> None:
    public = weights(fixture)
    restored = public_tensors(load_image_encoder(public, fixture.config["model"]))
    for key, tensor in restored.items():
        assert torch.equal(tensor, public[key]), key
    unused = {key for key in public if key not in restored}
    assert all(key.startswith(("textual.", "log_scale", "visual.head")) for key in unused)
