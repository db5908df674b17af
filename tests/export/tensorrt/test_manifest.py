"""What the manifest of a repository of plans says of how they were built."""

from pathlib import Path
from typing import Any

import pytest

from export.tensorrt import engines as module
from export.tensorrt.engines import BuiltEngine, Target, build_engines
from export.tensorrt.profiles import Workload
from server.manifest import FILE, read_manifest
from tests.support.paths import ROOT

DEMO = ROOT / "export" / "demo" / "model_repository"
WORKLOAD = Workload("flash", [(128, 128)], [33, 17])


def built_by(builder: str, network: str) -> BuiltEngine:
    figures: dict[str, Any] = dict.fromkeys(
        ("layers", "profiles", "max_batch_size", "engine_bytes", "activation_bytes", "peak_bytes"),
        1,
    )
    return BuiltEngine(
        network=network,
        precision="fp32",
        seconds=1.0,
        compute_capability=None,
        builder=builder,
        made_from="",
        **figures,
    )


def build(folder: Path, builder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds every network of the demo with a builder that builds nothing."""
    monkeypatch.setattr(module, "installed_builder", lambda: builder)
    monkeypatch.setattr(module, "build_engine", lambda source, *_: built_by(builder, source.name))
    names = list(read_manifest(DEMO).networks)
    build_engines(DEMO, folder, WORKLOAD, Target(None), names, lambda *_, **__: None)


@pytest.mark.parametrize("container", ["", "26.07"])
def test_it_names_the_tensorrt_and_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str
) -> None:
    monkeypatch.setenv("NVIDIA_TRITON_SERVER_VERSION", container)
    build(tmp_path, "tensorrt 10.14.1.48", monkeypatch)
    written = read_manifest(tmp_path)
    assert {entry.backend for entry in written.networks.values()} == {"tensorrt"}
    assert written.tool_versions["tensorrt"] == "10.14.1.48"
    assert written.tool_versions.get("tritonserver", "") == container
    assert written.max_window_frames == 33


def test_there_is_none_for_engines_that_no_triton_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, "tensorrt_rtx 1.7.1.116", monkeypatch)
    assert not (tmp_path / FILE).exists()
