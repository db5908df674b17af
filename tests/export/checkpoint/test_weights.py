"""Checkpoint folders as people have them: whole, in shards, pickled, damaged, of the wrong kind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from export.checkpoint import layout
from export.checkpoint.errors import CheckpointError, CheckpointMismatchError
from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import make_tiny
from export.checkpoint.weights import INDEX
from export.networks.catalogue import networks

FILES = [layout.DENOISER, layout.VAE, layout.IMAGE_ENCODER, layout.TEXT_ENCODER]
AUDIO_FILE = layout.AUDIO_ENCODERS["flash"] / layout.AUDIO_ENCODER_WEIGHTS
BUILT_FROM = {
    "denoiser": layout.DENOISER,
    "vae_decoder": layout.VAE,
    "image_encoder": layout.IMAGE_ENCODER,
    "text_encoder": layout.TEXT_ENCODER,
    "audio_encoder": AUDIO_FILE,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make_tiny(root, seed=0)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "checkpoint"))


def in_shards(file: Path) -> None:
    """Cuts a safetensors file in two, as large models are published."""
    tensors = load_file(file)
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = f"{file.stem}-0000{number}-of-00002.safetensors"
        # Contiguous copies: what is loaded is mapped from the file that goes.
        save_file({name: tensors[name].clone() for name in part}, file.with_name(shard))
        weight_map |= dict.fromkeys(part, shard)
    index = file.with_name(file.name + INDEX)
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    file.unlink()


def pickled(file: Path) -> None:
    """Saves a denoiser as a training program does."""
    torch.save({"state_dict": load_file(file), "step": 1}, file.with_suffix(".pth"))
    file.unlink()


@pytest.mark.parametrize("form", [in_shards, pickled])
def test_other_forms_of_the_same_weights_load_the_same(
    root: Path, form: Callable[[Path], None]
) -> None:
    expected = Checkpoint(root).weights(layout.DENOISER).tensors()
    expected = {name: tensor.clone() for name, tensor in expected.items()}
    form(root / layout.DENOISER)
    checkpoint = Checkpoint(root)
    assert checkpoint.variant == "flash"
    actual = checkpoint.weights(layout.DENOISER).tensors()
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    assert sorted(checkpoint.weights(layout.DENOISER).keys()) == sorted(expected)
    networks(checkpoint)["denoiser"](checkpoint)


def test_a_missing_shard_is_named(root: Path) -> None:
    in_shards(root / layout.DENOISER)
    shard = next((root / layout.DENOISER).parent.glob("*00002-of*"))
    shard.unlink()
    with pytest.raises(CheckpointError, match="missing") as caught:
        Checkpoint(root).weights(layout.DENOISER).tensors()
    assert str(shard) in str(caught.value)


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("damage", ["missing", "cut off", "empty"])
def test_a_damaged_file_is_named_in_one_line(root: Path, path: Path, damage: str) -> None:
    file = root / path
    data = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes(data[: len(data) // 2] if damage == "cut off" else b"")
    with pytest.raises(CheckpointError) as caught:
        Checkpoint(root).weights(path).tensors()
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pickle_that_would_run_code_is_refused(root: Path) -> None:
    torch.save({"state_dict": Path("harmless")}, root / layout.VAE)
    with pytest.raises(CheckpointError, match=r"a pathlib\.\w+, which is not loaded") as caught:
        Checkpoint(root).weights(layout.VAE).tensors()
    assert str(caught.value).isprintable()


def test_an_old_pickle_is_refused_in_a_line_wherever_it_is_cut_off(root: Path) -> None:
    file = root / layout.VAE
    torch.save(torch.load(file, weights_only=True), file, _use_new_zipfile_serialization=False)
    whole = file.read_bytes()
    for end in range(1, len(whole), max(1, len(whole) // 200)):
        file.write_bytes(whole[:end])
        with pytest.raises(CheckpointError) as caught:
            Checkpoint(root).weights(layout.VAE).tensors()
        assert len(str(caught.value).splitlines()) == 1


def test_shards_elsewhere_are_refused(root: Path) -> None:
    in_shards(root / layout.DENOISER)
    index = root / f"{layout.DENOISER}{INDEX}"
    index.write_text(json.dumps({"weight_map": {"head.bias": "/elsewhere/shard.safetensors"}}))
    with pytest.raises(CheckpointError, match="names files by absolute paths"):
        Checkpoint(root).weights(layout.DENOISER).tensors()


@pytest.mark.parametrize("network", BUILT_FROM)
def test_a_renamed_key_is_named_with_its_file_in_one_line(root: Path, network: str) -> None:
    file = root / BUILT_FROM[network]
    safe = file.suffix == ".safetensors"
    tensors: dict[str, Tensor] = load_file(file) if safe else torch.load(file, weights_only=True)
    key = next(key for key in reversed(tensors) if not key.startswith(("textual", "log_scale")))
    tensors[f"{key}.renamed"] = tensors.pop(key)
    if safe:
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, file)
    else:
        torch.save(tensors, file)
    checkpoint = Checkpoint(root)
    with pytest.raises(CheckpointMismatchError) as caught:
        networks(checkpoint)[network](checkpoint)
    text = str(caught.value)
    assert str(file) in text
    assert "1 missing" in text
    assert f"1 unknown: {key}.renamed".removeprefix("1 unknown: wav2vec2.") in text
    assert "\n" not in text


def test_the_audio_encoder_of_the_other_variant_is_not_taken(root: Path) -> None:
    (root / layout.AUDIO_ENCODERS["flash"]).rename(root / layout.AUDIO_ENCODERS["preview"])
    with pytest.raises(CheckpointError, match="the denoiser is that of flash"):
        Checkpoint(root).digest()


def test_a_file_of_another_model_is_named(root: Path) -> None:
    save_file({"some.weight": torch.zeros(1)}, root / layout.DENOISER)
    with pytest.raises(CheckpointMismatchError, match="neither audio_injection") as caught:
        _ = Checkpoint(root).variant
    assert str(root / layout.DENOISER) in str(caught.value)
