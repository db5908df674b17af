"""Which of the public models a folder is taken for, where it could be both, or none."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from export.checkpoint import layout
from export.checkpoint.errors import CheckpointError, DamagedError
from export.checkpoint.folders import PARTS
from export.checkpoint.layout import Checkpoint
from export.checkpoint.published import make_published

POINTER = "version https://git-lfs.github.com/spec/v1\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make_published(root, seed=0, variants=["flash", "preview"])
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "checkpoint"))


def of_other_models(root: Path) -> None:
    """Puts transformers of image models beside, as a folder for all models has them."""
    for name in ("FLUX.1-dev", "Wan2.1-T2V-1.3B-Diffusers"):
        file = root / name / layout.DENOISER
        file.parent.mkdir(parents=True)
        save_file({"proj_out.weight": torch.zeros(1)}, file)


def half(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def on_its_way(file: Path) -> None:
    (parts := file.parents[1] / PARTS / file.parent.name).mkdir(parents=True)
    file.rename(parts / "aGFzaA=.incomplete")


def test_transformers_of_other_models_are_in_nobodys_way(root: Path) -> None:
    shutil.rmtree(root / layout.DENOISER.parent)
    of_other_models(root)
    assert Checkpoint(root).denoiser == layout.FLASH_DENOISER
    assert Checkpoint(root, "flash").denoiser == layout.FLASH_DENOISER
    with pytest.raises(CheckpointError, match="holds transformer several times"):
        _ = Checkpoint(root, "preview").denoiser


def test_a_transformer_of_another_model_is_not_that_of_preview(root: Path) -> None:
    save_file({"proj_out.weight": torch.zeros(1)}, root / layout.DENOISER)
    with pytest.raises(CheckpointError, match="neither audio_injection") as caught:
        _ = Checkpoint(root, "preview").denoiser
    assert "hf download BadToBest/EchoMimicV3 transformer/" in str(caught.value)


@pytest.mark.parametrize("damage", [half, lambda file: file.write_bytes(b""), on_its_way])
def test_a_failed_download_does_not_choose_the_other_model(
    root: Path, damage: Callable[[Path], object]
) -> None:
    damage(root / layout.FLASH_DENOISER)
    with pytest.raises(DamagedError, match="; --variant preview takes the other") as caught:
        _ = Checkpoint(root).denoiser
    assert "hf download BadToBest/EchoMimicV3 echomimicv3-flash-pro/" in str(caught.value)
    assert Checkpoint(root, "preview").denoiser == layout.DENOISER
    # Nothing is there that would hear for flash, so that nobody meant it.
    shutil.rmtree(root / layout.AUDIO_ENCODERS["flash"])
    assert Checkpoint(root).denoiser == layout.DENOISER


def test_the_one_that_is_asked_for_is_named_where_none_can_be_read(root: Path) -> None:
    for path in layout.DENOISERS.values():
        (root / path).write_text(POINTER)
    for variant, path in layout.DENOISERS.items():
        with pytest.raises(CheckpointError, match="Git LFS pointer") as caught:
            _ = Checkpoint(root, variant).denoiser
        assert str(root / path) in str(caught.value)


def test_preview_that_is_missing_is_not_what_is_wrong_with_flash(root: Path) -> None:
    shutil.rmtree(root / layout.DENOISER.parent)
    half(root / layout.FLASH_DENOISER)
    with pytest.raises(CheckpointError, match="is missing: `hf download") as caught:
        _ = Checkpoint(root, "preview").denoiser
    assert str(root / layout.DENOISER) in str(caught.value)


def test_two_of_one_variant_are_not_chosen_between(root: Path) -> None:
    tensors = load_file(root / layout.FLASH_DENOISER)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, root / layout.DENOISER)
    with pytest.raises(CheckpointError, match=r"two denoisers, .*\(flash\): remove one"):
        _ = Checkpoint(root, "flash").denoiser
    (root / layout.DENOISER).unlink()
    (root / layout.DENOISER).symlink_to(root / layout.FLASH_DENOISER)
    assert Checkpoint(root).denoiser == layout.FLASH_DENOISER
