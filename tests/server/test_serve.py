"""The gateway as a process with a real Triton: streams, and what is killed or missing."""

import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from echomimic.v1 import avatar_service_pb2 as pb

from client.demo.media import SPEECH
from echomimic_client.audio import read_audio
from server.manifest import FILE, read_manifest
from tests.support.freeze import freeze
from tests.support.gateway_process import (
    TRITON_VENV,
    Running,
    command,
    free_port,
    gateway,
    triton_url,
    until,
    wait_for_frame,
)
from tests.support.http2 import GOAWAY, GREETING, frame_kinds
from tests.support.paths import ROOT
from tests.support.paths import TINY_REPOSITORY as REPOSITORY
from tests.support.serving import END, chunk, portrait, said, speech, start

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
def test_a_killed_triton_is_replaced_and_the_stream_goes_on(running: Running, victim: str) -> None:
    def messages() -> Iterator[pb.AnimateRequest]:
        yield start(generation=pb.GenerationSettings(steps=8))
        yield chunk(speech(5 * RATE).tobytes())
        yield END

    undisturbed = frames(list(running.stub.Animate(messages())))
    call = running.stub.Animate(messages())
    wait_for_frame(call)
    for process in running.processes(victim):
        process.send_signal(signal.SIGKILL)
    assert frames(list(call)) == undisturbed[1:]
    until(running.serving, timeout_s=120)


def test_nobody_waits_for_a_triton_longer_than_is_said(tmp_path: Path) -> None:
    with gateway(tmp_path, "--triton-wait-s=0") as running:
        call = running.stub.Animate(iter([start(), *said(speech(20 * RATE))]))
        wait_for_frame(call)
        for process in running.processes("tritonserver"):
            process.send_signal(signal.SIGKILL)
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "cannot be run on Triton" in str(caught.value.details())
        until(running.serving, timeout_s=120)
        assert len(frames(stream(running, RATE))) == 25


def stop(process: psutil.Process) -> None:
    process.send_signal(signal.SIGSTOP)


@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize(
    ("victim", "hang"),
    [
        pytest.param("tritonserver", stop, id="Triton stopped"),
        pytest.param("denoiser_0_0", stop, id="stub stopped"),
        pytest.param("denoiser_0_0", lambda process: freeze(process.pid), id="execution hangs"),
    ],
)
def test_a_triton_that_hangs_is_found_and_replaced(
    running: Running, victim: str, hang: Callable[[psutil.Process], None], busy: bool
) -> None:
    ended = threading.Event()

    def messages() -> Iterator[pb.AnimateRequest]:
        yield start(generation=pb.GenerationSettings(steps=8))
        yield chunk(speech(20 * RATE if busy else RATE).tobytes())
        ended.wait()

    call = running.stub.Animate(messages())
    # Of three windows, so that executions of either length have been seen.
    for _ in range(3 + 7 + 1):
        wait_for_frame(call)
    for process in running.processes(victim):
        hang(process)
    hung_s = time.monotonic()
    # Sooner than any execution runs out of time.
    until(lambda: not running.serving(), timeout_s=30)
    found_s = time.monotonic() - hung_s
    until(running.serving, timeout_s=120)
    if busy:
        # More than may have been on their way.
        for _ in range(50):
            wait_for_frame(call)
    ended.set()
    call.cancel()
    assert len(frames(stream(running, RATE))) == 25, f"found after {found_s:.1f} s"


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


def test_a_server_that_goes_down_turns_newcomers_away_and_lets_streams_finish(
    tmp_path: Path,
) -> None:
    http, goes_on = free_port(), threading.Event()

    def messages() -> Iterator[pb.AnimateRequest]:
        yield start()
        yield chunk(speech(RATE).tobytes())
        goes_on.wait()
        yield from said(speech(RATE))

    with gateway(tmp_path, f"--http-port={http}") as running:
        host, port = running.address.split(":")
        with socket.create_connection((host, int(port)), timeout=60) as listening:
            listening.sendall(GREETING)
            call = running.stub.Animate(messages())
            wait_for_frame(call)
            running.process.send_signal(signal.SIGTERM)
            until(lambda: not running.serving())
            with pytest.raises(grpc.RpcError) as caught:
                stream(running, 640)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
            with pytest.raises(urllib.error.HTTPError, match="503"):
                urllib.request.urlopen(f"http://127.0.0.1:{http}/readyz")
            goes_on.set()
            assert list(call)[-1].summary.frames == 50
            heard = b""
            while data := listening.recv(2**16):
                heard += data
        assert GOAWAY in (kind for kind, _ in frame_kinds(heard))
        assert running.process.wait(60) == 0


def test_kill_9_in_mid_execution_leaves_nothing_behind(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        children = psutil.Process(running.process.pid).children(recursive=True)
        call = running.stub.Animate(iter([start(), *said(speech(20 * RATE))]))
        wait_for_frame(call)
        assert children
        running.process.kill()
        until(lambda: not any(child.is_running() for child in children))


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


def test_a_triton_of_another_checkpoint_is_never_served(running: Running, tmp_path: Path) -> None:
    repository = tmp_path / "models"
    shutil.copytree(REPOSITORY, repository)
    path = repository / FILE
    digest = read_manifest(REPOSITORY).checkpoint_digest
    path.write_text(path.read_text().replace(digest, "another"))
    url = f"--triton-url={triton_url(running)}"
    with gateway(tmp_path, url, repository=repository, begun="triton is refused") as other:
        assert not other.serving()
        with pytest.raises(grpc.RpcError) as caught:
            stream(other, 640)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "another checkpoint" in str(caught.value.details())
        assert digest in other.log.read_text()


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
        assert str(port) in fails(f"--metrics-port={port}", log)
        assert str(port) in fails(f"--http-port={port}", log)


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
