"""NVIDIA's tritonserver, where its container has it."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from server.app import serve
from server.manifest import FILE
from server.settings import Settings
from server.triton.container import container_triton, find_triton
from server.triton.errors import EngineMissingError, InstallationError, StartupExitError
from server.triton.process import check_engines
from tests.server.triton.test_plans import with_plans
from tests.support.toy_triton import toy_scene

TELL = """
import json, os, sys
backends = os.path.realpath("backends")
print(json.dumps({"words": sys.argv[1:], "environment": dict(os.environ), "backends": backends}))
raise SystemExit(1)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder like /opt/tritonserver, whose program tells what it is given."""
    folder = tmp_path / "tritonserver"
    for name in ("bin", "backends"):
        (folder / name).mkdir(parents=True)
    program = folder / "bin" / "tritonserver"
    program.write_text(f"#!{sys.executable}\n{TELL}")
    program.chmod(0o755)
    return folder


async def test_it_is_started_with_its_own_backends_and_environment(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/local/cuda/compat/lib")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    scene = toy_scene(tmp_path)
    with pytest.raises(StartupExitError):
        async with scene.start(find_triton(folder)):
            pass
    told: dict[str, Any] = json.loads(scene.log_path.read_text())
    assert told["backends"] == str(folder / "backends")
    assert "--backend-directory=backends" in told["words"]
    assert told["environment"]["LD_LIBRARY_PATH"] == "/usr/local/cuda/compat/lib"
    assert "PYTHONPATH" not in told["environment"]


def test_a_folder_without_it_is_taken_for_an_environment(tmp_path: Path) -> None:
    assert container_triton(tmp_path) is None
    with pytest.raises(InstallationError, match=r"there is no .*bin/python3"):
        find_triton(tmp_path)


def test_an_option_that_it_has_is_known(folder: Path) -> None:
    (folder / "bin" / "tritonserver").write_text("#!/bin/sh\necho '--allow-client-shm <boolean>'\n")
    triton = find_triton(folder)
    assert triton.knows("--allow-client-shm")
    assert not triton.knows("--allow-client")


@pytest.mark.parametrize(("here", "refused"), [("10.14.1.48", False), ("11.0.0.1", True)])
def test_plans_are_served_where_the_containers_tensorrt_is_theirs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str, refused: bool
) -> None:
    monkeypatch.setenv("TRT_VERSION", here)
    (tmp_path / FILE).write_text(with_plans(tensorrt="10.14.1.48").model_dump_json())
    settings = Settings.model_validate({"repository": tmp_path, "triton_venv": folder, "port": 0})
    # What is missing next is the tokenizer.
    with pytest.raises(Exception, match=f"TensorRT {here}" if refused else "tokenizer"):
        asyncio.run(serve(settings))


@pytest.mark.parametrize("engine", ["1/model.onnx", "1/model.plan"])
def test_a_model_has_an_onnx_file_or_a_plan(tmp_path: Path, engine: str) -> None:
    model = tmp_path / "denoiser"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").touch()
    with pytest.raises(EngineMissingError):
        check_engines(tmp_path)
    (model / engine).touch()
    check_engines(tmp_path)
