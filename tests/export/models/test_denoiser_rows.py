"""The rows of a step share what they are given; their velocities are those of rows that do not."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from export.checkpoint.layout import Checkpoint
from export.models.denoiser.audio_flash import neighbours
from export.models.denoiser.model import FlashDenoiser, PreviewDenoiser
from export.models.denoiser.teacache import CachedDenoiser
from export.networks.denoiser import denoiser, preview_denoiser
from export.networks.exportable import Inputs, Shape
from tests.support.reference import assert_close
from tests.support.reference_repository import reference_checkpoint

TOLERANCE = 1e-4
STREAMS = Shape(batch=2, frames=3, height=4, width=6)
pytestmark = pytest.mark.usefixtures("reference")


@pytest.fixture(scope="module")
def flash(tmp_path_factory: pytest.TempPathFactory) -> tuple[FlashDenoiser, Inputs]:
    checkpoint = _checkpoint("flash", tmp_path_factory)
    exportable = denoiser(checkpoint)
    assert isinstance(exportable.module, FlashDenoiser)
    return exportable.module, exportable.inputs(STREAMS)


@pytest.fixture(scope="module")
def preview(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreviewDenoiser, Inputs]:
    exportable = preview_denoiser(_checkpoint("preview", tmp_path_factory))
    assert isinstance(exportable.module, PreviewDenoiser)
    return exportable.module, exportable.inputs(STREAMS)


def _checkpoint(variant, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return reference_checkpoint(variant, Path(tmp_path_factory.mktemp(variant)))


@torch.inference_mode()
def assert_rows(actual: tuple[Tensor, Tensor], row: int, expected: tuple[Tensor, Tensor]) -> None:
    for of_rows, alone in zip(actual, expected, strict=True):
        assert_close(of_rows[:, row].numpy(), alone.numpy(), TOLERANCE)


@torch.inference_mode()
def test_flash_hears_in_each_row_as_its_gain_says(flash: tuple[FlashDenoiser, Inputs]) -> None:
    module, inputs = flash
    gains = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 1.0]])
    actual = module(*{**inputs, "audio_gain": gains}.values())
    shared = ("latents", "condition", "timestep", "text", "image_tokens")
    for row in range(3):
        heard = inputs["audio"] * gains[:, row, None, None, None]
        given = [*(inputs[name] for name in shared), neighbours(heard, STREAMS.frames)]
        expected = module.evaluate(*given)
        assert_rows(actual, row, expected)
    assert not torch.allclose(actual[0][:, 0], actual[0][:, 1])


@torch.inference_mode()
def test_preview_reads_in_each_row_what_its_gains_say(
    preview: tuple[PreviewDenoiser, Inputs],
) -> None:
    module, inputs = preview
    hears = torch.tensor([[0.0, 0.0, 1.0]] * 2)
    # The negative prompt, emphasised; the prompt; the prompt.
    reads = torch.tensor([[[0.0, 1.5], [1.0, 0.0], [1.0, 0.0]]] * 2)
    texts = torch.randn(2, 2, *inputs["text"].shape[2:])
    given = {**inputs, "audio_gain": hears, "text_gain": reads, "text": texts}
    actual = module(*given.values())
    for row, text in enumerate((texts[:, 1] * 1.5, texts[:, 0], texts[:, 0])):
        alone = [
            *(inputs[name] for name in ("latents", "condition", "timestep")),
            text,
            inputs["image_tokens"],
            inputs["audio"] * hears[:, row, None, None],
            *(inputs[name] for name in ("audio_index", "face_mask", "audio_scale")),
        ]
        assert_rows(actual, row, module.evaluate(*alone))


@torch.inference_mode()
def test_every_row_takes_its_own_residual_back(flash: tuple[FlashDenoiser, Inputs]) -> None:
    module, inputs = flash
    velocity, residual = module(*inputs.values())
    noisy = (inputs["latents"], inputs["condition"], inputs["timestep"])
    again = module.forward_cached(*noisy, residual)
    assert_close(again.numpy(), velocity.numpy(), TOLERANCE)
    alone = CachedDenoiser(module)(*noisy, residual[:, 1:2])
    assert_close(alone.numpy(), velocity[:, 1:2].numpy(), TOLERANCE)
