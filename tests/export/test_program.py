"""`python -m export` as people run it."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from client.demo.media import PORTRAIT
from export.__main__ import app
from export.checkpoint import layout
from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import make_tiny
from export.models.vae.taehv import TaehvSizes, build_taehv, public_tensors
from export.networks.catalogue import networks
from export.networks.exportable import Shape
from export.onnx.verification import exact_text_encoder
from server.manifest import FILE, NetworkEntry, read_manifest
from server.triton.contract import NETWORKS, Variant
from tests.support.paths import TINY, TINY_REPOSITORY
from tests.support.serving import manifest

VARIANTS: tuple[Variant, ...] = ("flash", "preview")


@pytest.mark.parametrize("variant", VARIANTS)
def test_inspect_shows_what_was_found(tmp_path: Path, variant: Variant) -> None:
    make_tiny(tmp_path, seed=0, variant=variant)
    result = CliRunner().invoke(app, ["inspect", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert f"variant {variant}, digest {Checkpoint(tmp_path).digest()}" in result.stdout
    for network in ("denoiser", "vae", "text_encoder", "image_encoder", "audio_encoder"):
        assert network in result.stdout
    assert "2 layers, 96 wide" in result.stdout


def repository_of_plans(folder: Path) -> Path:
    plan = NetworkEntry(backend="tensorrt", precision="fp16")
    tools = {"tensorrt": "10.14.1.48", "tritonserver": "26.03"}
    described = manifest().model_copy(
        update={"networks": {"denoiser": plan}, "tool_versions": tools}
    )
    (folder / FILE).write_text(described.model_dump_json())
    return folder


@pytest.mark.parametrize("here", ["", "10.14.1.48+cuda13.0"])
def test_inspect_shows_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str
) -> None:
    monkeypatch.setenv("TRT_VERSION", here)
    result = CliRunner().invoke(app, ["inspect", str(repository_of_plans(tmp_path))])
    assert result.exit_code == 0, result.output
    assert "variant flash, digest test, 64x64, 96x64" in result.stdout
    assert re.search(r"denoiser +tensorrt +fp16", result.stdout)
    assert "made by tensorrt 10.14.1.48, tritonserver 26.03" in result.stdout


def test_inspect_refuses_plans_of_another_tensorrt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRT_VERSION", "10.15.1.2")
    result = CliRunner().invoke(app, ["inspect", str(repository_of_plans(tmp_path))])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "plans of TensorRT 10.14.1.48, and here is TensorRT 10.15.1.2" in result.stderr


def test_inspect_of_half_a_checkpoint_is_one_line(tmp_path: Path) -> None:
    make_tiny(tmp_path, seed=0)
    (tmp_path / layout.VAE).unlink()
    result = CliRunner().invoke(app, ["inspect", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert str(tmp_path / layout.VAE) in result.stderr


@pytest.mark.slow
def test_verify_shows_every_network_and_the_frames() -> None:
    arguments = [str(TINY_REPOSITORY), "--checkpoint", str(TINY)]
    result = CliRunner().invoke(app, ["verify", *arguments, "--size", "64x64", "--frames", "5"])
    assert result.exit_code == 0, result.output
    for network in NETWORKS["flash"]:
        assert network in result.stdout
    psnr = re.search(r"PSNR ([\d.]+) dB", result.stdout)
    assert psnr is not None
    assert float(psnr[1]) > 90


@pytest.mark.slow
def test_verify_compares_the_networks_that_are_asked_for() -> None:
    arguments = [str(TINY_REPOSITORY), "--checkpoint", str(TINY)]
    result = CliRunner().invoke(app, ["verify", *arguments, "--network", "time_modulation"])
    assert result.exit_code == 0, result.output
    assert "time_modulation" in result.stdout
    assert "denoiser_cached" not in result.stdout
    assert "PSNR" not in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "served"), [("--decoder", "vae_decoder"), ("--light-decoder", "vae_decoder_light")]
)
def test_a_light_decoder_is_served_in_the_others_place_or_beside_and_verified(
    tmp_path: Path, option: str, served: str
) -> None:
    torch.manual_seed(0)
    decoder = public_tensors(build_taehv(TaehvSizes((16, 16, 8, 8))))
    save_file(decoder, tmp_path / "light.safetensors")
    repository = tmp_path / "repository"
    shutil.copytree(TINY_REPOSITORY, repository)
    words = ["--repository", str(repository), "--size", "128x128"]
    light = [option, f"taew2_1={tmp_path / 'light.safetensors'}"]
    result = CliRunner().invoke(app, ["onnx", str(TINY), *words, *light])
    assert result.exit_code == 0, result.output
    decoders = {name for name in read_manifest(repository).networks if "decoder" in name}
    assert decoders == {"vae_decoder", served}
    assert f'name: "{served}"' in (repository / served / "config.pbtxt").read_text()
    sizes = ["--size", "64x64", "--frames", "5", "--portrait", str(PORTRAIT)]
    result = CliRunner().invoke(app, ["verify", str(repository), "--checkpoint", str(TINY), *sizes])
    assert result.exit_code == 0, result.output
    found = re.search(r"decoder taew2_1 \w{16}: PSNR (-?[\d.]+) dB against", result.stdout)
    assert found is not None, result.stdout
    # Random weights draw other pictures.
    assert float(found[1]) < 30
    if option == "--light-decoder":
        result = CliRunner().invoke(app, ["onnx", str(TINY), *words])
        assert result.exit_code == 0, result.output
        # Triton would load what is left behind.
        assert not (repository / served).exists()


@pytest.mark.slow
def test_verify_takes_a_style_bank_for_what_it_has(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(TINY_REPOSITORY, repository)
    described = json.loads((repository / FILE).read_text())
    del described["networks"]["text_encoder"]
    (repository / FILE).write_text(json.dumps(described | {"styles": {"plain": "a portrait"}}))
    arguments = [str(repository), "--checkpoint", str(TINY)]
    result = CliRunner().invoke(app, ["verify", *arguments, "--size", "64x64", "--frames", "5"])
    assert result.exit_code == 0, result.output
    assert "text_encoder" not in result.stdout
    assert "PSNR" in result.stdout
    result = CliRunner().invoke(app, ["verify", *arguments, "--network", "text_encoder"])
    assert result.exit_code == 1
    assert "has no text_encoder, only audio_encoder" in " ".join(result.stderr.split())


def test_the_text_encoder_is_exact_whatever_it_is_stored_in(tmp_path: Path) -> None:
    make_tiny(tmp_path, seed=0)
    checkpoint = Checkpoint(tmp_path)
    with checkpoint.fitting(layout.TEXT_ENCODER) as weights:
        narrow = {key: tensor.bfloat16() for key, tensor in weights.items()}
    torch.save(narrow, tmp_path / layout.TEXT_ENCODER)
    plain, light = networks(checkpoint)["text_encoder"], exact_text_encoder
    inputs = plain(checkpoint).inputs(Shape(2, 2, 4, 4)).values()
    module = light(checkpoint).module
    with torch.inference_mode():
        expected, actual = plain(checkpoint).module(*inputs), module(*inputs)
    assert torch.equal(actual, expected)
    kept = {layer.weight.dtype for layer in module.modules() if isinstance(layer, nn.Linear)}
    assert kept == {torch.bfloat16}


@pytest.mark.slow
def test_verify_refuses_another_checkpoint(tmp_path: Path) -> None:
    make_tiny(tmp_path, seed=9)
    arguments = [str(TINY_REPOSITORY), "--checkpoint", str(tmp_path)]
    result = CliRunner().invoke(app, ["verify", *arguments])
    assert result.exit_code == 1
    assert "was exported from checkpoint" in result.stderr


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A repository whose graph of the time modulation was cut off."""
    repository = Path(shutil.copytree(TINY_REPOSITORY, tmp_path / "repository"))
    graph = repository / "time_modulation" / "1" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:1_000])
    return repository


@pytest.mark.slow
@pytest.mark.parametrize("network", ["time_modulation", "nothing"])
@pytest.mark.parametrize("command", ["verify", "tensorrt"])
def test_a_damaged_repository_is_one_line(damaged: Path, command: str, network: str) -> None:
    more = {
        "verify": ["--checkpoint", str(TINY)],
        "tensorrt": ["--engines", str(damaged.parent / "engines"), "--compute-capability", "8.9"],
    }
    arguments = [command, str(damaged), "--network", network, *more[command]]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    expected = "model.onnx cannot be used" if network == "time_modulation" else "has no nothing"
    assert expected in lines[0]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--engines", "elsewhere", "--window", "6"], "6 is not 4k + 1"),
        (["--engines", "elsewhere", "--compute-capability", "ada"], "ada is not as 8.9"),
        (["--engines", "."], "another folder"),
    ],
)
def test_options_of_tensorrt_are_checked(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(app, ["tensorrt", ".", *arguments])
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("decoder", "code", "complaint"),
    [
        ("taew2_1", 2, "is not KIND=FILE"),
        ("taesd=file", 1, "taesd is no decoder; there are lightvaew2_1"),
        ("taew2_1=nowhere", 1, "nowhere is missing"),
    ],
)
def test_a_decoder_that_cannot_be_used_is_one_line(
    tmp_path: Path, decoder: str, code: int, complaint: str
) -> None:
    make_tiny(tmp_path / "checkpoint", seed=0)
    arguments = ["onnx", str(tmp_path / "checkpoint"), "--decoder", decoder, "--plan"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code
    assert complaint in " ".join(result.stderr.split())


@pytest.mark.parametrize("memory_gb", [1, 100])
def test_a_plan_is_shown_and_nothing_is_written(tmp_path: Path, memory_gb: int) -> None:
    make_tiny(tmp_path / "checkpoint", seed=0)
    repository = tmp_path / "repository"
    arguments = ["onnx", str(tmp_path / "checkpoint"), "--repository", str(repository), "--plan"]
    result = CliRunner().invoke(app, [*arguments, "--memory-gb", str(memory_gb)])
    assert not repository.exists()
    for network in NETWORKS["flash"]:
        assert re.search(rf"{network} +\w+ +[\d.]+ [kM]B +[\d.]+ GB", result.stdout), network
    assert f"of {memory_gb}.0 GB" in result.stdout
    if memory_gb == 100:
        assert result.exit_code == 0
    else:
        assert result.exit_code == 1
        assert re.fullmatch(r"error: \w+ in bf16 takes about .*\n", result.stderr)


def test_what_does_not_fit_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tiny(tmp_path / "checkpoint", seed=0)
    monkeypatch.setattr("export.planning.machine.machine_bytes", lambda: 10**9)
    arguments = [str(tmp_path / "checkpoint"), "--repository", str(tmp_path / "repository")]
    result = CliRunner().invoke(app, ["onnx", *arguments, "--precision", "fp32"])
    assert result.exit_code == 1
    assert [line.partition(" ")[0] for line in result.stderr.splitlines()] == [
        "precision:",
        "about",
        "error:",
    ]
    assert not (tmp_path / "repository").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    make_tiny(tmp_path / "checkpoint", seed=0)
    (tmp_path / "file").write_text("")
    arguments = ["onnx", str(tmp_path / "checkpoint"), "--repository", str(tmp_path / "file")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: ")
