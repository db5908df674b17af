"""Starting and stopping Tritons that misbehave, and what stands in the way of a start."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.triton.errors import (
    EngineMissingError,
    InstallationError,
    PortInUseError,
    StartupExitError,
    StartupTimeoutError,
)
from server.triton.installation import TritonInstallation, find_libpython
from server.triton.ports import Ports
from server.triton.process import PARAMETERS_VARIABLE, Threads
from tests.support.toy_triton import Scene, toy_scene

Fake = Callable[[str], TritonInstallation]

SERVE = """
import http.server, os, signal, subprocess, sys, threading
from pathlib import Path

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

options = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:] if "=" in argument)
for name in ("http-port", "metrics-port"):
    server = http.server.HTTPServer(("127.0.0.1", int(options[name])), Handler)
    threading.Thread(target=server.serve_forever).start()
"""


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """An installation whose tritonserver is a Python program."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python3").symlink_to(sys.executable)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py", "stub"):
        (venv / name).touch()

    def install(program: str) -> TritonInstallation:
        tritonserver = venv / "tritonserver"
        tritonserver.write_text(f"#!{sys.executable}\n{program}")
        tritonserver.chmod(0o755)
        return TritonInstallation(
            venv=venv,
            tritonserver=tritonserver,
            python_backend=venv,
            stub=venv / "stub",
            libpython_dir=venv / "lib",
        )

    return install


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return toy_scene(tmp_path)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("waited in vain")


async def test_a_triton_that_hangs_is_killed_at_the_deadline(fake: Fake, scene: Scene):
    begin = time.monotonic()
    with pytest.raises(StartupTimeoutError, match=r"not ready within 0.5 s \(log: .*triton.log"):
        async with scene.start(fake("import time; time.sleep(600)"), startup_deadline_s=0.5):
            pass
    assert time.monotonic() - begin < 5
    assert not scene.processes()


async def test_a_start_that_is_cancelled_leaves_nothing_behind(fake: Fake, scene: Scene):
    async def start() -> None:
        async with scene.start(fake("import time; time.sleep(600)")):
            pass

    task = asyncio.create_task(start())
    await until(lambda: bool(scene.processes()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not scene.processes()
    assert not any(scene.runtime_dir.iterdir())


async def test_a_triton_that_ends_at_once_is_told_with_its_last_words(fake: Fake, scene: Scene):
    installation = fake("print('first'); print('no such option'); raise SystemExit(3)")
    with pytest.raises(StartupExitError, match=r"status 3 .*: no such option \(log: ") as caught:
        async with scene.start(installation):
            pass
    assert len(str(caught.value).splitlines()) == 1


async def test_what_triton_says_itself_goes_before_what_its_stubs_say(fake: Fake, scene: Scene):
    installation = fake(
        """
print('E1122 12:00:00.1 7 main.cc:245] "failed to start GRPC service: Unavailable "')
print('I1122 12:00:01.1 8 pb_stub.cc:2145]  Non-graceful termination detected. ')
raise SystemExit(1)
"""
    )
    with pytest.raises(StartupExitError, match=r"failed to start GRPC service: Unavailable \(log"):
        async with scene.start(installation):
            pass


async def test_what_was_said_before_anybody_looked_is_told(
    fake: Fake, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawn = asyncio.create_subprocess_exec

    async def ended(*command: Any, **options: Any) -> asyncio.subprocess.Process:
        """Comes back late, as on a busy machine."""
        spawned = await spawn(*command, **options)
        await spawned.wait()
        return spawned

    monkeypatch.setattr(asyncio, "create_subprocess_exec", ended)
    with pytest.raises(StartupExitError, match="no such option"):
        async with scene.start(fake("print('no such option'); raise SystemExit(3)")):
            pass


async def test_the_log_of_an_earlier_triton_is_kept_and_not_blamed(fake: Fake, scene: Scene):
    earlier = """E1122 12:00:00 1 model.cc:1] "failed to load 'vae' version 1: too large"\n"""
    scene.log_path.parent.mkdir()
    scene.log_path.write_text(earlier)
    with pytest.raises(StartupExitError):
        async with scene.start(fake("raise SystemExit('now')")):
            pass
    assert scene.log_path.read_text() == earlier + "now\n"


async def test_a_triton_that_does_not_stop_is_killed_with_its_stubs(fake: Fake, scene: Scene):
    installation = fake(
        SERVE
        + """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["sleep", "600"])
prefix = options["backend-config"].removeprefix("python,shm-region-prefix-name=")
Path("/dev/shm", prefix + "left-over").touch()
"""
    )
    async with scene.start(installation, stop_grace_s=0.2) as triton:
        await until(lambda: len(scene.processes()) == 2 and len(scene.shared_memory()) == 1)
        memory = scene.shared_memory()
    assert await triton.wait() == -signal.SIGKILL
    assert not scene.processes()
    assert not any(region.exists() for region in memory)


async def test_a_triton_can_be_killed_with_its_stubs(fake: Fake, scene: Scene):
    installation = fake(SERVE + "subprocess.Popen(['sleep', '600'])")
    async with scene.start(installation) as triton:
        await until(lambda: len(scene.processes()) == 2)
        triton.kill()
        assert await triton.wait() == -signal.SIGKILL
        await until(lambda: not scene.processes())


async def test_triton_gets_an_environment_of_its_own(
    fake: Fake, scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/nowhere")
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    installation = fake("import json, os; print(json.dumps(dict(os.environ))); raise SystemExit(1)")
    with pytest.raises(StartupExitError):
        async with scene.start(installation, threads=Threads(intra_op=3, inter_op=2)):
            pass
    environment: dict[str, Any] = json.loads(scene.log_path.read_text())
    assert environment["PATH"] == f"{installation.venv}/bin:/usr/bin"
    assert environment["LD_LIBRARY_PATH"] == str(installation.libpython_dir)
    assert "PYTHONPATH" not in environment
    assert "VIRTUAL_ENV" not in environment
    assert json.loads(environment[PARAMETERS_VARIABLE]) == {
        "intra_op_thread_count": "3",
        "inter_op_thread_count": "2",
    }


def test_models_share_all_cores_by_default(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 5})  # pyright: ignore[reportUnknownLambdaType]
    assert Threads().parameters() == {"intra_op_thread_count": "3", "inter_op_thread_count": "1"}


@pytest.mark.parametrize("service", ["http", "grpc", "metrics"])
async def test_a_port_in_use_is_named_before_anything_starts(
    fake: Fake, scene: Scene, service: str
):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=rf"port {port} .* is in use"):
            async with scene.start(fake("raise SystemExit"), ports=Ports(**{service: port})):
                pass
    assert not scene.log_path.exists()


async def test_a_port_that_is_asked_for_is_used(fake: Fake, scene: Scene):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    installation = fake(SERVE)
    async with scene.start(installation, ports=Ports(http=port), stop_grace_s=1) as triton:
        assert triton.http_url == f"127.0.0.1:{port}"


async def test_a_model_that_was_not_exported_is_named_with_the_remedy(fake: Fake, scene: Scene):
    (scene.repository / "doubling" / "1" / "model.onnx").unlink()
    with pytest.raises(EngineMissingError) as caught:
        async with scene.start(fake("raise SystemExit")):
            pass
    assert "lacks doubling/1/model.onnx" in str(caught.value)
    assert f"`python -m export onnx CHECKPOINT_DIR --repository {scene.repository}`" in str(
        caught.value
    )
    assert not scene.log_path.exists()


async def test_a_repository_without_models_is_refused(fake: Fake, scene: Scene):
    empty = replace(scene, repository=scene.repository / "nowhere")
    with pytest.raises(EngineMissingError, match=r"nowhere lacks a folder with config\.pbtxt"):
        async with empty.start(fake("raise SystemExit")):
            pass


def test_an_environment_that_does_not_exist_is_told_with_the_remedy(tmp_path: Path):
    with pytest.raises(InstallationError, match=r"there is no .*python3; run `python3.11 -m venv"):
        TritonInstallation.find(tmp_path / "venv")


def test_an_environment_without_the_wheel_is_told_with_the_remedy():
    with pytest.raises(InstallationError, match=r"lacks nvidia-pytriton; run `.*requirements.txt"):
        TritonInstallation.find(Path(sys.prefix))


def test_a_missing_libpython_is_told_with_the_remedy(tmp_path: Path):
    with pytest.raises(InstallationError, match=r"libpython3.11.so.1.0 is in none of .*/lib; make"):
        find_libpython("3.11", [tmp_path / "lib"])


def test_libpython_is_found_where_it_is(tmp_path: Path):
    (tmp_path / "libpython3.11.so.1.0").touch()
    assert find_libpython("3.11", [tmp_path / "lib", tmp_path]) == tmp_path


def test_whether_an_option_is_known_tritonserver_says(fake: Fake) -> None:
    installation = fake("print('  --allow-grpc <boolean>')")
    assert not installation.knows("--allow-client-shm")
    installation = fake("print('  --allow-client-shm <boolean>')")
    assert installation.knows("--allow-client-shm")
    assert not installation.knows("--allow-client")
