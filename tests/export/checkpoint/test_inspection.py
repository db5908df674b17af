"""`inspect` and `onnx`: all that is wrong with a checkpoint, before an hour of export."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Config, Wav2Vec2Model
from typer.testing import CliRunner

from export.__main__ import app
from export.checkpoint import layout
from export.checkpoint.errors import CheckpointProblemsError
from export.checkpoint.inspection import check
from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import TINY, make_tiny
from export.models.audio_encoder import public_tensors
from server.animation.tokens import PromptTokenizer
from server.triton.contract import Variant

BOM = b"\xef\xbb\xbf"
AUDIO = layout.AUDIO_ENCODERS["flash"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make_tiny(root, seed=0)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "checkpoint"))


def put(path: Path, text: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_text(text)  # pyright: ignore[reportReturnType]


def state(path: Path, name: str, value: object) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        content = json.loads((root / path).read_text())
        (root / path).write_text(json.dumps(content | {name: value}))

    return change


def remove(path: Path) -> Callable[[Path], None]:
    return lambda root: (root / path).unlink()


def cut(root: Path) -> None:
    file = root / layout.VAE
    file.write_bytes(file.read_bytes()[:-5_000])


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "broken yaml": (put(layout.CONFIG, "vae_kwargs: {dim: ["), "config.yaml is no YAML file"),
    "no date in yaml": (put(layout.CONFIG, "format: 2024-99-99"), "config.yaml is no YAML file"),
    "list in yaml": (put(layout.CONFIG, "- a\n- b\n"), "config.yaml holds a list"),
    "unknown section": (put(layout.CONFIG, "vea_kwargs: {dim: 8}"), "not known: vea_kwargs"),
    "section of no names": (put(layout.CONFIG, "vae_kwargs: 8"), "vae_kwargs is 8"),
    "unknown size": (put(layout.CONFIG, "vae_kwargs: {dimm: 8}"), "vae_kwargs.dimm is not known"),
    "size of words": (put(layout.CONFIG, "vae_kwargs: {dim: wide}"), "vae_kwargs.dim is 'wide'"),
    "other size": (put(layout.CONFIG, "vae_kwargs: {dim: 16}"), "of another shape"),
    "other length": (
        put(layout.CONFIG, "text_encoder_kwargs: {text_length: 226}"),
        "only 512 is supported",
    ),
    "broken json": (put(layout.DENOISER_CONFIG, "{"), "config.json is no JSON file"),
    "list in json": (put(layout.DENOISER_CONFIG, "[1]"), "config.json holds a list"),
    "dim in words": (state(layout.DENOISER_CONFIG, "dim", "wide"), "dim is 'wide'"),
    "half a layer": (state(layout.DENOISER_CONFIG, "num_layers", 1.5), "not a whole number"),
    "heads": (state(layout.DENOISER_CONFIG, "num_heads", 5), "for each of 5 heads"),
    "no dim": (put(layout.DENOISER_CONFIG, "{}"), f"{layout.DENOISER_CONFIG}, "),
    "patch": (state(layout.DENOISER_CONFIG, "patch_size", 2), "patch_size is 2"),
    "audio size": (state(AUDIO / "config.json", "hidden_size", "768x"), "hidden_size"),
    "audio activation": (state(AUDIO / "config.json", "hidden_act", "none"), "no network has"),
    "tokenizer": (remove(layout.TOKENIZER), "tokenizer.json is missing"),
    "no tokenizer": (put(layout.TOKENIZER, "{}"), "is no tokenizer"),
    "no audio encoder": (
        lambda root: shutil.rmtree(root / AUDIO),
        "the denoiser is that of flash",
    ),
    "no denoiser": (remove(layout.DENOISER), "hf download BadToBest/EchoMimicV3 echomimicv3-flash"),
    "damaged": (cut, "Wan2.1_VAE.pth cannot be read"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", ["inspect", "onnx"])
def test_every_command_says_what_is_wrong_in_a_line(root: Path, command: str, fault: str) -> None:
    change, words = FAULTS[fault]
    change(root)
    out = root / "out"
    arguments = [command, str(root), *(["--repository", str(out)] if command == "onnx" else [])]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1, result.output
    lines = result.stderr.strip().splitlines()
    assert any(words in line for line in lines), result.stderr
    assert all(line.startswith("error: ") for line in lines)
    assert not out.exists()


def test_all_that_is_wrong_is_listed(root: Path) -> None:
    for fault in ("unknown section", "no tokenizer", "dim in words", "damaged"):
        FAULTS[fault][0](root)
    result = CliRunner().invoke(app, ["inspect", str(root)])
    assert result.exit_code == 1
    for fault in ("unknown section", "no tokenizer", "dim in words", "damaged"):
        assert FAULTS[fault][1] in result.stderr
    assert result.stdout == ""


def test_numbers_written_as_text_are_taken(root: Path) -> None:
    for name in ("dim", "num_layers"):
        state(layout.DENOISER_CONFIG, name, str(TINY.denoiser[name]))(root)
    state(layout.DENOISER_CONFIG, "eps", "1e-6")(root)
    check(Checkpoint(root))


def test_the_config_of_the_authors_is_taken(root: Path) -> None:
    (root / layout.CONFIG).write_text(
        (root / layout.CONFIG).read_text().replace("vae_kwargs:", "vae_kwargs:\n  dropout: 0.0")
        + "format: civitai\nscheduler_kwargs: {shift: 5.0}\ntransformer_additional_kwargs: null\n"
    )
    check(Checkpoint(root))


def test_a_byte_order_mark_is_no_reason_to_refuse(root: Path) -> None:
    prompt = "cinematic portrait"
    expected, _ = PromptTokenizer(root / layout.TOKENIZER)(prompt)
    for path in (
        layout.CONFIG,
        layout.DENOISER_CONFIG,
        layout.TOKENIZER,
        AUDIO / "config.json",
    ):
        (root / path).write_bytes(BOM + (root / path).read_bytes())
    check(Checkpoint(root))
    actual, _ = PromptTokenizer(root / layout.TOKENIZER)(prompt)
    assert (actual == expected).all()


def test_a_folder_with_both_denoisers_takes_the_one_asked_for(root: Path, tmp_path: Path) -> None:
    flash, preview = layout.AUDIO_ENCODERS["flash"], layout.AUDIO_ENCODERS["preview"]
    (root / layout.FLASH_DENOISER).parent.mkdir()
    (root / layout.DENOISER).rename(root / layout.FLASH_DENOISER)
    assert Checkpoint(root).variant == "flash"
    check(Checkpoint(root))
    make_tiny(tmp_path / "preview", seed=0, variant="preview")
    shutil.copy(tmp_path / "preview" / layout.DENOISER, root / layout.DENOISER)
    # The only one whose audio encoder is there.
    assert Checkpoint(root).denoiser == layout.FLASH_DENOISER
    shutil.copytree(tmp_path / "preview" / preview, root / preview)
    result = CliRunner().invoke(app, ["inspect", str(root)])
    assert result.exit_code == 1
    assert "--variant chooses" in result.stderr
    chosen: dict[Variant, Path] = {"flash": layout.FLASH_DENOISER, "preview": layout.DENOISER}
    for variant, path in chosen.items():
        result = CliRunner().invoke(app, ["inspect", str(root), "--variant", variant])
        assert result.exit_code == 0, result.output
        assert f"variant {variant}" in result.stdout
        assert Checkpoint(root, variant).denoiser == path
    # Cloned without Git LFS: what is no denoiser is not chosen.
    (root / layout.DENOISER).write_text("version https://git-lfs.github.com/spec/v1\n")
    assert Checkpoint(root).variant == "flash"
    shutil.rmtree(root / flash)
    result = CliRunner().invoke(app, ["inspect", str(root), "--variant", "preview"])
    assert "is a Git LFS pointer" in result.stderr


def test_a_variant_that_is_not_there_is_named(root: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(root), "--variant", "preview"])
    assert result.exit_code == 1
    assert "the denoiser of flash, not of preview: `hf download" in result.stderr


def test_sizes_that_fit_no_tensor_are_named_with_the_file(root: Path) -> None:
    tensors = {key: tensor.clone() for key, tensor in load_file(root / layout.DENOISER).items()}
    tensors["head.head.bias"] = torch.zeros(3)
    save_file(tensors, root / layout.DENOISER)
    result = CliRunner().invoke(app, ["inspect", str(root)])
    assert "1 of another shape: head.head.bias has shape [3]" in result.stderr
    assert str(root / layout.DENOISER) in result.stderr


def only_problem(root: Path) -> str:
    with pytest.raises(CheckpointProblemsError) as caught:
        check(Checkpoint(root))
    (problem,) = str(caught.value).splitlines()
    return problem


def beside_the_encoder(root: Path, name: str) -> Path:
    """Adds a tensor to the file of Wav2Vec2."""
    file = root / Checkpoint(root).audio_encoder_weights
    torch.save(torch.load(file, weights_only=True) | {name: torch.zeros(1)}, file)
    return file


def test_a_wav2vec2_that_reads_letters_is_not_that_of_flash(root: Path) -> None:
    file = beside_the_encoder(root, "quantizer.codevectors")
    check(Checkpoint(root))
    beside_the_encoder(root, "lm_head.weight")
    problem = only_problem(root)
    assert str(file) in problem
    assert "hf download TencentGameMate/chinese-wav2vec2-base" in problem


def test_how_transformers_would_load_wav2vec2_is_not_asked(root: Path) -> None:
    state(AUDIO / "config.json", "attn_implementation", "flash_attention_2")(root)
    state(AUDIO / "config.json", "torch_dtype", "nonsense")(root)
    check(Checkpoint(root))


@pytest.mark.parametrize(("name", "value"), [("num_hidden_layers", 24), ("hidden_size", 64)])
def test_a_wav2vec2_of_another_size_is_not_that_of_the_denoiser(
    root: Path, name: str, value: int
) -> None:
    config = json.loads((root / AUDIO / "config.json").read_bytes()) | {name: value}
    (root / AUDIO / "config.json").write_text(json.dumps(config))
    file = root / AUDIO / layout.AUDIO_ENCODER_WEIGHTS
    torch.save(public_tensors(Wav2Vec2Model(Wav2Vec2Config(**config))), file)
    problem = only_problem(root)
    assert str(file) in problem
    assert "the denoiser hears one of 12 layers, 32 wide: `hf download Tencent" in problem


def test_what_was_not_published_is_to_be_removed(root: Path) -> None:
    (root / layout.UNPUBLISHED).write_bytes(b"")
    problem = only_problem(root)
    assert f"{layout.UNPUBLISHED} is empty: remove it" in problem
    assert "`hf download TencentGameMate/chinese-wav2vec2-base pytorch_model.bin" in problem


def test_a_wav2vec2_without_letters_is_not_that_of_preview(tmp_path: Path) -> None:
    make_tiny(tmp_path, seed=0, variant="preview")
    check(Checkpoint(tmp_path))
    file = beside_the_encoder(tmp_path, "quantizer.codevectors")
    problem = only_problem(tmp_path)
    assert str(file) in problem
    assert "hf download facebook/wav2vec2-base-960h" in problem
    beside_the_encoder(tmp_path, "lm_head.weight")
    check(Checkpoint(tmp_path))
