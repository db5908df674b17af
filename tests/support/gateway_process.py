"""The gateway as a process with a real Triton."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc
import psutil
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.paths import ROOT, TINY_REPOSITORY

TRITON_VENV = Path(os.environ.get("ECHOMIMIC_TRITON_VENV", ROOT / ".venv" / "triton"))


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
        """Those of its Triton: ``tritonserver``, or stubs by program or instance."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if name in _names(child)]


def _names(process: psutil.Process) -> set[str]:
    program, *arguments = process.cmdline() or [""]
    return {Path(program).name, *arguments}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(*words: str, repository: Path = TINY_REPOSITORY) -> list[str]:
    ports = [f"--triton-{kind}-port=0" for kind in ("http", "grpc", "metrics")]
    paths = [f"--repository={repository}", f"--triton-venv={TRITON_VENV}"]
    return [sys.executable, "-m", "server", *paths, *ports, *words]


@contextmanager
def gateway(
    folder: Path,
    *words: str,
    repository: Path = TINY_REPOSITORY,
    begun: str = "",
    port: int | None = None,
    within: Sequence[str] = (),
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Running]:
    """A gateway that serves small windows in few steps; killed in the end if it still runs.

    Args:
        folder: for its logs.
        words: further ones for its command line.
        repository: of the models.
        begun: what its log has said when it is given; else it is given when it serves.
        port: to listen on; else a free one.
        within: a command that runs the one that follows it.
        variables: of its environment, besides this process's own.
    """
    address = f"127.0.0.1:{port or free_port()}"
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
            [*within, *command(*words, repository=repository)],
            cwd=ROOT,
            env={**os.environ, **variables},
            stdout=output,
            stderr=output,
            text=True,
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

        def ready() -> bool:
            return begun in log.read_text() if begun else running.serving()

        until(lambda: ready() or process.poll() is not None, timeout_s=120)
        assert process.poll() is None, log.read_text()
        yield running


def triton_url(running: Running) -> str:
    """Returns where the gRPC of a gateway's own Triton is, by the gateway's log."""
    match = re.search(r"tritons=\['([\d.:]+)'\]", running.log.read_text())
    assert match
    return match[1]


def until(condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def wait_for_frame(call: Iterator[pb.AnimateResponse]) -> None:
    assert any(answer.WhichOneof("message") == "frame" for answer in call)
