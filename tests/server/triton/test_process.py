"""A real Triton, started, watched and stopped."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from server.triton.errors import ModelLoadError
from server.triton.workdir import SHARED_MEMORY, regions
from tests.support.paths import ROOT
from tests.support.toy_triton import Scene, find_installation, infer, toy_scene

pytestmark = pytest.mark.slow

STUB_PATIENCE_S = 10.0
"""A stub notices within two seconds that its Triton is gone; a busy machine may take longer."""


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return toy_scene(tmp_path)


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=STUB_PATIENCE_S)
    return not alive


async def test_triton_serves_and_leaves_nothing_behind(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    # What a gateway's own environment says about Python is not for Triton's.
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/nowhere")
    async with scene.start(find_installation()) as triton:
        async with InferenceServerClient(triton.grpc_url) as client:
            answer = await infer(client, "doubling", {"x": np.ones((1, 3), np.float32)})
            np.testing.assert_array_equal(answer["y"], [[2, 2, 2]])
        server = psutil.Process(triton.pid)
        stubs = server.children()
        assert len(stubs) == 2
        listening = {c.laddr for c in server.net_connections() if c.status == "LISTEN"}
        urls = {triton.grpc_url, triton.http_url, triton.metrics_url.split("/")[2]}
        assert {f"{a.ip.removeprefix('::ffff:')}:{a.port}" for a in listening} == urls
        assert all(url.startswith("127.0.0.1:") for url in urls)
        (workdir,) = scene.runtime_dir.iterdir()
        assert len(scene.shared_memory()) == 2
    assert await triton.wait() == 0
    assert not any(process.is_running() for process in (server, *stubs))
    assert not any(SHARED_MEMORY.glob(f"{workdir.name}*"))
    assert not any(scene.runtime_dir.iterdir())


async def test_answered_messages_are_let_go(scene: Scene):
    large = np.ones((1, 4 * 2**20), np.float32)
    async with (
        scene.start(find_installation()) as triton,
        InferenceServerClient(triton.grpc_url) as client,
    ):
        server = psutil.Process(triton.pid)
        await infer(client, "doubling", {"x": np.ones((1, 3), np.float32)})
        before = server.memory_full_info().uss
        for _ in range(3):
            await asyncio.gather(*(infer(client, "doubling", {"x": large}) for _ in range(4)))
        # What was in flight at once may be there a little longer; by default it is four times that.
        assert server.memory_full_info().uss - before < 8 * large.nbytes


async def test_deaths_are_noticed(scene: Scene):
    async with (
        scene.start(find_installation()) as triton,
        InferenceServerClient(triton.grpc_url) as client,
    ):
        stubs = psutil.Process(triton.pid).children()
        running = asyncio.create_task(
            infer(client, "repeating", {"trips": np.array([10_000_000])}, ["last"])
        )
        await asyncio.sleep(0.5)
        for stub in stubs:
            stub.kill()

        # Whether a stub died at work or before, Triton says so within a second, while it calls
        # itself and the model ready.
        with pytest.raises(InferenceServerException, match="is not healthy") as at_work:
            await running
        with pytest.raises(InferenceServerException, match="is not healthy") as before:
            await infer(client, "doubling", {"x": np.ones((1, 3), np.float32)})
        assert at_work.value.status() == before.value.status() == "StatusCode.INTERNAL"
        assert await client.is_model_ready("doubling")

        os.kill(triton.pid, signal.SIGKILL)
        async with asyncio.timeout(5):
            assert await triton.wait() == -signal.SIGKILL
        with pytest.raises(InferenceServerException) as dead:
            await infer(client, "doubling", {"x": np.ones((1, 3), np.float32)})
        assert dead.value.status() == "StatusCode.UNAVAILABLE"


async def test_a_broken_engine_is_named_with_the_reason(scene: Scene):
    (scene.repository / "repeating" / "1" / "model.onnx").write_bytes(b"not an ONNX file")
    with pytest.raises(ModelLoadError, match=r"cannot load repeating: .*PROTOBUF") as caught:
        async with scene.start(find_installation()):
            pass
    assert len(str(caught.value).splitlines()) == 1
    assert str(scene.log_path) in str(caught.value)


PARENT = """
import asyncio, json, sys
from pathlib import Path
import numpy as np
import psutil
from tritonclient.grpc.aio import InferenceServerClient
from server import logs
from server.triton.process import start_triton
from tests.support.toy_triton import find_installation, infer

async def main(repository, runtime_dir, log_path):
    async with start_triton(
        find_installation(), repository, runtime_dir=runtime_dir, log_path=log_path
    ) as triton:
        # A stub that has worked does not outlive Triton, not even to clean up.
        async with InferenceServerClient(triton.grpc_url) as client:
            await infer(client, "doubling", {"x": np.ones((1, 3), np.float32)})
        children = psutil.Process(triton.pid).children()
        print(json.dumps([triton.pid, *(child.pid for child in children)]), flush=True)
        await asyncio.sleep(600)

logs.configure(as_json=False)
asyncio.run(main(*map(Path, sys.argv[1:])))
"""


@pytest.fixture
def parent(scene: Scene) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A process that runs Triton, in a process group of its own, and Triton's processes."""
    find_installation()
    command = [sys.executable, "-c", PARENT, scene.repository, scene.runtime_dir, scene.log_path]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        process_group=0,
    ) as process:
        assert process.stdout is not None
        yield process, [psutil.Process(pid) for pid in json.loads(process.stdout.readline())]
        process.kill()


def test_triton_ends_with_a_parent_that_is_killed(
    parent: tuple[subprocess.Popen[str], list[psutil.Process]],
):
    process, tritons = parent
    assert len(tritons) == 3
    process.kill()
    assert gone(tritons)


async def test_what_a_killed_parent_left_is_removed_at_the_next_start(
    parent: tuple[subprocess.Popen[str], list[psutil.Process]], scene: Scene, tmp_path: Path
):
    process, tritons = parent
    (left,) = scene.runtime_dir.iterdir()
    memory = regions(left)
    assert memory
    async with scene.start(find_installation()):
        # Nothing of a living one is touched, whether another starts or stops.
        assert len(list(scene.runtime_dir.iterdir())) == 2
    assert list(scene.runtime_dir.iterdir()) == [left]
    assert regions(left) == memory

    process.kill()
    assert gone(tritons)
    assert left.exists()
    # Whoever runs elsewhere removes the memory, also a test beside this one; the folder is for who
    # comes to it.
    async with replace(scene, runtime_dir=tmp_path / "elsewhere").start(find_installation()):
        assert not regions(left)
    assert not any(SHARED_MEMORY.glob(f"{left.name}*"))
    async with scene.start(find_installation()):
        assert not left.exists()
        assert scene.shared_memory()


def test_ctrl_c_reaches_the_parent_which_stops_triton(
    parent: tuple[subprocess.Popen[str], list[psutil.Process]], scene: Scene
):
    process, tritons = parent
    # As a terminal does: to the whole foreground process group.
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=30)
    assert not any(triton.is_running() for triton in tritons)
    log = scene.log_path.read_text()
    assert f"Signal ({int(signal.SIGTERM)}) received" in log
    assert f"Signal ({int(signal.SIGINT)}) received" not in log
