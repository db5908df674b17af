"""The gateway as a process with a real Triton: streams, and what is killed or missing."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from client.demo.media import SPEECH
from echomimic_client.audio import read_audio
from tests.support.paths import ROOT
from tests.support.paths import TINY_REPOSITORY as REPOSITORY
from tests.support.serving import END, chunk, portrait, said, speech, start

TRITON_VENV = Path(os.environ.get("ECHOMIMIC_TRITON_VENV", ROOT / ".venv" / "triton"))
RATE = 16_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (REPOSITORY / "manifest.json").exists(),
        reason="no models; `make test` exports them",
    ),
    pytest.mark.skipif(
        not (TRITON_VENV / "bin").exists(), reason="no Triton; `make test` installs it"
    ),
]


@dataclass(frozen=True)
class Running:
    """A gateway process, its address and a stub for it."""

    process: subprocess.Popen[str]
    address: str
    log: Path
    stub: pb_grpc.AvatarServiceStub
    health: Any

    def serving(self) -> bool:
        request = health_pb2.HealthCheckRequest(service="echomimic.v1.AvatarService")
        try:
            return self.health.Check(request, timeout=5).status == 1
        except grpc.RpcError:
            return False

    def processes(self, name: str) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if name in " ".join(child.cmdline()[:1])]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(*words: str, repository: Path = REPOSITORY) -> list[str]:
    ports = [f"--triton-{kind}-port=0" for kind in ("http", "grpc", "metrics")]
    paths = [f"--repository={repository}", f"--triton-venv={TRITON_VENV}"]
    return [sys.executable, "-m", "server", *paths, *ports, *words]


@contextmanager
def gateway(folder: Path, *words: str) -> Iterator[Running]:
    """A gateway that serves small windows in few steps; killed in the end if it still runs."""
    address = f"127.0.0.1:{free_port()}"
    log = folder / "gateway.log"
    words = (
        f"--port={address.rpartition(':')[2]}",
        f"--triton-log={folder / 'triton.log'}",
        "--window-ladder=5,9",
        "--overlap-frames=2",
        "--steps=2",
        *words,
    )
    with ExitStack() as stack:
        output = stack.enter_context(log.open("w"))
        process = subprocess.Popen(
            command(*words), cwd=ROOT, stdout=output, stderr=output, text=True
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        channel = stack.enter_context(grpc.insecure_channel(address))
        running = Running(
            process,
            address,
            log,
            pb_grpc.AvatarServiceStub(channel),
            health_pb2_grpc.HealthStub(channel),
        )
        until(lambda: running.serving() or process.poll() is not None, timeout_s=120)
        assert process.poll() is None, log.read_text()
        yield running


def until(condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def wait_for_frame(call: Iterator[pb.AnimateResponse]) -> None:
    assert any(answer.WhichOneof("message") == "frame" for answer in call)


def frames(answers: list[pb.AnimateResponse]) -> list[bytes]:
    return [answer.frame.data for answer in answers if answer.WhichOneof("message") == "frame"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with gateway(tmp_path_factory.mktemp("gateway")) as it:
        yield it


def stream(
    running: Running, samples: int, sizes: list[int] | None = None, seed: int = 0
) -> list[pb.AnimateResponse]:
    messages = [start(), *said(speech(samples, seed=seed), sizes or [])]
    return list(running.stub.Animate(iter(messages)))


def test_a_stream_through_real_triton_has_every_frame(running: Running) -> None:
    answers = stream(running, RATE)
    assert answers[0].started.generation.steps == 2
    assert len(frames(answers)) == 25
    assert answers[-1].summary.frames == 25
    assert {len(data) for data in frames(answers)} == {128 * 128 * 3}


@pytest.mark.parametrize("sizes", [[320] * 30, [1] * 500, [5_000, 1, 7, 3_000]])
def test_frames_do_not_depend_on_the_chunking(running: Running, sizes: list[int]) -> None:
    assert frames(stream(running, 9_000, sizes)) == frames(stream(running, 9_000))


def test_streams_at_once_do_not_touch_each_other(running: Running) -> None:
    alone = [frames(stream(running, 9_000, seed=seed)) for seed in (1, 2)]
    together: dict[int, list[bytes]] = {}
    threads = [
        threading.Thread(
            target=lambda seed=seed: together.update(
                {seed: frames(stream(running, 9_000, seed=seed))}
            )
        )
        for seed in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, expected in zip((1, 2), alone, strict=True):
        assert len(together[seed]) == len(expected)
        # Merged into one batch, sums may be added in another order, and single levels differ.
        differences = [
            max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
            for ours, theirs in zip(together[seed], expected, strict=True)
        ]
        assert max(differences) <= 1


def test_an_mp4_is_rendered(running: Running) -> None:
    request = pb.RenderRequest(
        portrait=pb.Portrait(image=portrait()),
        audio_format=start().start.audio_format,
        audio=speech(RATE).tobytes(),
    )
    answers = list(running.stub.Render(request))
    data = b"".join(answer.mp4_chunk.data for answer in answers)
    assert data[4:8] == b"ftyp"
    assert answers[-1].summary.frames == 25


def test_each_call_leaves_a_line_when_it_begins_and_one_when_it_ends(running: Running) -> None:
    call = running.stub.Animate(
        iter([start(), *said(speech(640))]), metadata=(("x-request-id", "find-me"),)
    )
    assert len(frames(list(call))) == 1
    lines = [line for line in running.log.read_text().splitlines() if "find-me" in line]
    begun, ended = lines
    assert "Animate begins" in begun
    assert "status=OK" in ended
    assert "frames=1" in ended


@pytest.mark.parametrize("victim", ["triton_python_backend_stub", "tritonserver"])
def test_a_killed_triton_is_unavailable_and_replaced(running: Running, victim: str) -> None:
    def messages() -> Iterator[pb.AnimateRequest]:
        yield start(generation=pb.GenerationSettings(steps=8))
        yield chunk(speech(20 * RATE).tobytes())
        yield END

    call = running.stub.Animate(messages())
    wait_for_frame(call)
    for process in running.processes(victim):
        process.send_signal(signal.SIGKILL)
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "cannot be run on Triton" in str(caught.value.details())
    until(lambda: not running.serving())
    until(running.serving, timeout_s=120)
    assert len(frames(stream(running, RATE))) == 25


@pytest.mark.parametrize("busy", [True, False])
def test_a_triton_that_hangs_is_found_and_replaced(running: Running, busy: bool) -> None:
    ended = threading.Event()

    def messages() -> Iterator[pb.AnimateRequest]:
        yield start(generation=pb.GenerationSettings(steps=8))
        yield chunk(speech(20 * RATE if busy else RATE).tobytes())
        ended.wait()

    call = running.stub.Animate(messages())
    wait_for_frame(call)
    for process in running.processes("tritonserver"):
        process.send_signal(signal.SIGSTOP)
    # Sooner than any execution runs out of time.
    until(lambda: not running.serving(), timeout_s=20)
    if busy:
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    until(running.serving, timeout_s=120)
    ended.set()
    call.cancel()
    assert len(frames(stream(running, RATE))) == 25


def test_sigterm_lets_a_stream_finish_and_exits_with_0(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        triton = running.processes("tritonserver")
        call = running.stub.Animate(iter([start(), *said(speech(2 * RATE))]))
        assert next(call).WhichOneof("message") == "started"
        running.process.send_signal(signal.SIGTERM)
        answers = list(call)
        assert answers[-1].summary.frames == 50
        assert running.process.wait(60) == 0
        assert triton
        assert not any(process.is_running() for process in triton)


def test_kill_9_in_mid_execution_leaves_nothing_behind(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        children = psutil.Process(running.process.pid).children(recursive=True)
        call = running.stub.Animate(iter([start(), *said(speech(20 * RATE))]))
        wait_for_frame(call)
        assert children
        running.process.kill()
        until(lambda: not any(child.is_running() for child in children))


def triton_url(running: Running) -> str:
    match = re.search(r"tritons=\['([\d.:]+)'\]", running.log.read_text())
    assert match
    return match[1]


def test_a_running_triton_is_used_by_its_url(running: Running, tmp_path: Path) -> None:
    with gateway(tmp_path, f"--triton-url={triton_url(running)}") as other:
        assert not other.processes("tritonserver")
        assert frames(stream(other, 9_000)) == frames(stream(running, 9_000))


def test_a_stream_outlives_one_of_two_tritons_which_leaves_nothing_behind(
    running: Running, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    second.mkdir()
    with gateway(second) as owner:
        urls = f"{triton_url(running)},{triton_url(owner)}"
        with gateway(tmp_path, f"--triton-url={urls}") as other:
            children = psutil.Process(owner.process.pid).children(recursive=True)
            call = other.stub.Animate(iter([start(), *said(speech(5 * RATE))]))
            wait_for_frame(call)
            owner.process.kill()
            assert list(call)[-1].summary.frames == 125
        assert children
        until(lambda: not any(child.is_running() for child in children))


def fails(*words: str, repository: Path = REPOSITORY) -> str:
    """Runs a gateway that cannot start; returns the one line that says why."""
    finished = subprocess.run(
        command("--port=0", *words, repository=repository),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.returncode != 0
    errors = [line for line in finished.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "Traceback" not in finished.stderr
    return errors[0]


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        log = f"--triton-log={tmp_path / 'triton.log'}"
        assert str(port) in fails(f"--port={port}", log)
        assert str(port) in fails(f"--triton-grpc-port={port}", log)


def test_a_repository_that_was_not_exported_is_one_line(tmp_path: Path) -> None:
    assert "python -m export onnx" in fails(repository=tmp_path)


def test_a_missing_engine_is_one_line(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    shutil.copytree(REPOSITORY, repository)
    (repository / "denoiser" / "1" / "model.onnx").unlink()
    log = f"--triton-log={tmp_path / 'triton.log'}"
    assert "denoiser/1/model.onnx" in fails(log, repository=repository)


def test_a_broken_engine_is_one_line(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    shutil.copytree(REPOSITORY, repository)
    (repository / "denoiser" / "1" / "model.onnx").write_bytes(b"no graph")
    log = f"--triton-log={tmp_path / 'triton.log'}"
    assert "denoiser" in fails(log, repository=repository)


def test_a_wrong_setting_is_one_line() -> None:
    assert "4k + 1" in fails("--window-ladder=17,34")


def test_the_readmes_python_works(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(compile(code.replace("127.0.0.1:50051", running.address), "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "0 0.0 (128, 128, 3)"
    frames = read_audio(SPEECH).frame_count
    assert len(printed) == frames + 1
    assert f"frames={frames}" in printed[-1]
