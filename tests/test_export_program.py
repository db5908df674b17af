"""`python -m export` as people run it."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from export import checkpoint as layout
from export.__main__ import app
from export.checkpoint import Checkpoint
from export.tiny import make_tiny
from server.contract import NETWORKS, Variant

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


def test_inspect_of_half_a_checkpoint_is_one_line(tmp_path: Path) -> None:
    make_tiny(tmp_path, seed=0)
    (tmp_path / layout.VAE).unlink()
    result = CliRunner().invoke(app, ["inspect", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert str(tmp_path / layout.VAE) in result.stderr


BUILT = Path(__file__).parents[1] / "build" / "tiny"


def test_verify_shows_every_network_and_the_frames() -> None:
    arguments = [str(BUILT / "model_repository"), "--checkpoint", str(BUILT / "checkpoint")]
    result = CliRunner().invoke(app, ["verify", *arguments, "--size", "64x64", "--frames", "5"])
    assert result.exit_code == 0, result.output
    for network in NETWORKS["flash"]:
        assert network in result.stdout
    psnr = re.search(r"PSNR ([\d.]+) dB", result.stdout)
    assert psnr is not None
    assert float(psnr[1]) > 90


def test_verify_refuses_another_checkpoint(tmp_path: Path) -> None:
    make_tiny(tmp_path, seed=9)
    arguments = [str(BUILT / "model_repository"), "--checkpoint", str(tmp_path)]
    result = CliRunner().invoke(app, ["verify", *arguments])
    assert result.exit_code == 1
    assert "was exported from checkpoint" in result.stderr
