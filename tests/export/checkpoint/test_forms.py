"""Weights as training programs, repackagers and broken downloads leave them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from export.checkpoint import layout
from export.checkpoint.errors import CheckpointError
from export.checkpoint.inspection import check
from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import make_tiny
from export.checkpoint.weights import INDEX

LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 3400000000\n"
PAGE = "\n<!DOCTYPE html><html><body>Please log in</body></html>"
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make_tiny(root, seed=0)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "checkpoint"))


def vae(root: Path) -> Tensors:
    return torch.load(root / layout.VAE, weights_only=True)


PICKLES: dict[str, Callable[[Tensors], Any]] = {
    "model": lambda tensors: {"model": tensors},
    "deepspeed": lambda tensors: {"module": tensors, "global_steps": 3, "skipped": None},
    "lightning": lambda tensors: {"state_dict": tensors, "epoch": 2, "hyper_parameters": {"lr": 1}},
    "optimizer": lambda tensors: {
        "model": tensors,
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1.0}]},
        "loss": torch.tensor(0.5),
    },
    "counters": lambda tensors: {**tensors, "epoch": 3, "name": "vae", "history": [1.0]},
    "prefixed": lambda tensors: {f"module.{key}": tensor for key, tensor in tensors.items()},
    "twice": lambda tensors: {f"module.model.{key}": t for key, t in tensors.items()},
}


@pytest.mark.parametrize("form", PICKLES)
@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_are_found_in_what_training_programs_save(
    root: Path, form: str, legacy: bool
) -> None:
    expected = vae(root)
    torch.save(
        PICKLES[form](expected), root / layout.VAE, _use_new_zipfile_serialization=not legacy
    )
    weights = Checkpoint(root).weights(layout.VAE)
    actual = weights.tensors()
    assert actual.keys() == expected.keys() == set(weights.keys())
    assert all(torch.equal(actual[key], expected[key]) for key in expected)
    check(Checkpoint(root))


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        (lambda tensors: list(tensors.values()), "holds a list"),
        (lambda tensors: 7, "holds a int"),
        (lambda tensors: {"model": tensors, "ema": tensors}, r"several sets .*\(model, ema\)"),
        (lambda tensors: {**tensors, "ema": tensors}, "ema, tensors beside them"),
        (lambda tensors: {"a": {"b": tensors}}, "holds no tensors"),
    ],
)
def test_a_pickle_that_could_mean_several_things_is_refused(
    root: Path, form: Callable[[Tensors], Any], complaint: str
) -> None:
    torch.save(form(vae(root)), root / layout.VAE)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        check(Checkpoint(root))
    assert str(caught.value).startswith(str(root / layout.VAE))
    assert "\n" not in str(caught.value)


def safetensors(file: Path) -> None:
    tensors = torch.load(file, weights_only=True)
    save_file({k: t.clone() for k, t in tensors.items()}, file.with_suffix(".safetensors"))


def renamed(file: Path) -> None:
    shutil.copy(file, file.with_suffix(".bin"))


def pickled_shards(file: Path) -> None:
    tensors = torch.load(file, weights_only=True)
    names = sorted(tensors)
    index: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = f"{file.stem}-0000{number}-of-00002.bin"
        torch.save({name: tensors[name] for name in part}, file.with_name(shard))
        index |= dict.fromkeys(part, shard)
    file.with_name(f"{file.stem}.bin{INDEX}").write_text(json.dumps({"weight_map": index}))


@pytest.mark.parametrize("form", [safetensors, renamed, pickled_shards])
@pytest.mark.parametrize("path", [layout.VAE, layout.IMAGE_ENCODER, layout.TEXT_ENCODER])
def test_repackaged_weights_are_found_under_the_same_stem(
    root: Path, path: Path, form: Callable[[Path], None]
) -> None:
    expected = torch.load(root / path, weights_only=True)
    form(root / path)
    (root / path).unlink()
    actual = Checkpoint(root).weights(path).tensors()
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[key], expected[key]) for key in expected)


@pytest.mark.parametrize("prefix", ["module.", "model.diffusion_model.", "_orig_mod.", "dit.net."])
def test_a_denoiser_is_taken_out_of_what_wrapped_it(root: Path, prefix: str) -> None:
    file = root / layout.DENOISER
    expected = {key: tensor.clone() for key, tensor in load_file(file).items()}
    save_file({prefix + key: tensor for key, tensor in expected.items()}, file)
    checkpoint = Checkpoint(root)
    assert checkpoint.variant == "flash"
    assert checkpoint.weights(layout.DENOISER).tensors().keys() == expected.keys()
    check(checkpoint)


@pytest.mark.parametrize("prefix", ["", "module.", "image_encoder.model."])
def test_a_part_of_a_network_keeps_its_name(root: Path, prefix: str) -> None:
    # CLIP without its text tower: all names that are left begin alike.
    file = root / layout.IMAGE_ENCODER
    tensors = torch.load(file, weights_only=True)
    visual = {key: tensor for key, tensor in tensors.items() if key.startswith("visual.")}
    torch.save({prefix + key: tensor for key, tensor in visual.items()}, file)
    checkpoint = Checkpoint(root)
    assert checkpoint.weights(layout.IMAGE_ENCODER).tensors().keys() == visual.keys()
    check(checkpoint)


FILES = {
    layout.DENOISER: "BadToBest/EchoMimicV3 transformer/diffusion_pytorch_model.safetensors",
    layout.VAE: "alibaba-pai/Wan2.1-Fun-V1.1-1.3B-InP Wan2.1_VAE.pth",
    layout.DENOISER_CONFIG: "alibaba-pai/Wan2.1-Fun-V1.1-1.3B-InP config.json",
    layout.TOKENIZER: "alibaba-pai/Wan2.1-Fun-V1.1-1.3B-InP google/umt5-xxl/tokenizer.json",
    layout.AUDIO_ENCODERS["flash"] / layout.AUDIO_ENCODER_WEIGHTS: (
        "TencentGameMate/chinese-wav2vec2-base pytorch_model.bin"
    ),
}


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize(
    ("content", "words"),
    [(LFS, "Git LFS pointer.*`git lfs pull` or"), (PAGE, "web page"), ("", "is empty")],
)
def test_a_failed_download_is_named_with_the_command_that_fetches_the_file(
    root: Path, path: Path, content: str, words: str
) -> None:
    (root / path).write_text(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        check(Checkpoint(root))
    (line,) = str(caught.value).splitlines()
    assert str(root / path) in line
    assert f"`hf download {FILES[path]} --local-dir {root}" in line


def test_weights_of_the_base_alone_are_named_as_such(root: Path) -> None:
    tensors = load_file(root / layout.DENOISER)
    base = {k: t.clone() for k, t in tensors.items() if not k.startswith("audio_injection.")}
    save_file(base, root / layout.DENOISER)
    with pytest.raises(CheckpointError, match="the weights of the base") as caught:
        check(Checkpoint(root))
    assert "hf download BadToBest/EchoMimicV3 echomimicv3-flash-pro/" in str(caught.value)


@pytest.mark.parametrize("scale", ["scale_weight", "weight_scale", "scaled_fp8"])
def test_weights_in_8_bits_are_refused_where_they_have_scales(root: Path, scale: str) -> None:
    tensors = {key: tensor.clone() for key, tensor in load_file(root / layout.DENOISER).items()}
    key = next(key for key in tensors if key.endswith("ffn.0.weight"))
    tensors[key] = tensors[key].to(torch.float8_e4m3fn)
    save_file(tensors, root / layout.DENOISER)
    check(Checkpoint(root))
    save_file({**tensors, f"{key}.{scale}": torch.ones(1)}, root / layout.DENOISER)
    with pytest.raises(CheckpointError, match="1 tensors in 8 bits with scales") as caught:
        check(Checkpoint(root))
    assert len(str(caught.value).splitlines()) == 1
