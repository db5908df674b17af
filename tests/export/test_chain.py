"""From a download to frames, in the README's words."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from export.__main__ import app
from export.checkpoint.layout import Checkpoint
from export.networks.catalogue import BUILDS
from export.repository.model_config import ENGINE_FILE
from server.manifest import FILE, read_manifest
from server.triton.contract import NETWORKS, Variant
from tests.support.gateway_process import TRITON_VENV, gateway
from tests.support.serving import said, speech, start

pytestmark = pytest.mark.slow

CAPABILITIES = ("8.9", "12.0")
SAMPLES = 4_000


def export(*words: str | Path) -> str:
    """Runs `python -m export` with these words, which succeeds."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.skipif(not (TRITON_VENV / "bin").exists(), reason="no Triton; `make test` has one")
def test_a_download_becomes_frames(tmp_path: Path) -> None:
    variant: Variant = "preview"
    checkpoint = tmp_path / "published"
    export("make-tiny", "--as-published", checkpoint, "--packed", "shards")
    assert f"variant {variant}" in export("inspect", checkpoint, "--variant", variant)
    repository = tmp_path / "model_repository"
    words = ("--repository", repository, "--size", "64x64", "--variant", variant)
    export("onnx", checkpoint, *words)
    assert set(read_manifest(repository).networks) >= set(NETWORKS[variant])
    for capability in CAPABILITIES:
        engines = tmp_path / capability
        target = ("--compute-capability", capability, "--window", "5")
        export("tensorrt", repository, "--engines", engines, *target)
        for network in NETWORKS[variant]:
            assert (engines / network / "1" / ENGINE_FILE).stat().st_size > 0, network
        # TensorRT-RTX's engines are not for Triton.
        assert not (engines / FILE).exists()
    with gateway(tmp_path, repository=repository) as running:
        requests = [start(), *said(speech(SAMPLES))]
        answers = list(running.stub.Animate(iter(requests), timeout=120))
    shown = [answer for answer in answers if answer.WhichOneof("message") == "frame"]
    assert len(shown) == -(-SAMPLES * 25 // 16_000)
    assert answers[-1].WhichOneof("message") == "summary"


def test_a_download_of_flash_is_the_checkpoint_that_every_test_of_the_server_serves(
    tmp_path: Path,
) -> None:
    # `make test` exports that one; exporting it once more would say no more, and takes minutes.
    packed = ("--variant", "flash", "--packed", "legacy")
    export("make-tiny", "--as-published", tmp_path / "published", *packed)
    export("make-tiny", tmp_path / "plain")
    published = Checkpoint(tmp_path / "published")
    for name, build in BUILDS["flash"].items():
        found = build(published).module.state_dict()
        expected = build(Checkpoint(tmp_path / "plain")).module.state_dict()
        assert expected, name
        assert found.keys() == expected.keys(), name
        for key, weight in expected.items():
            assert torch.equal(found[key], weight), f"{name}: {key}"
