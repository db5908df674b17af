"""A gateway of the demo's own: started, waited for and stopped."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from echomimic_client.address import channel_options
from echomimic_client.errors import ClientError

LOOPBACK = "127.0.0.1"
TRITON_PORTS = ("--triton-http-port", "--triton-grpc-port", "--triton-metrics-port")
POLL_S = 0.2
CHECK_TIMEOUT_S = 5.0
START_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 60.0
LAST_LINES = 15


class GatewayError(ClientError):
    """The gateway did not start; the text ends with the last lines of its log."""


@contextmanager
def running_gateway(repository: Path, triton_venv: Path, log: Path, *words: str) -> Iterator[str]:
    """Runs a gateway and its Triton, on free ports, while the block runs.

    Gives the address once the gateway serves.

    Args:
        repository: the model repository.
        triton_venv: the environment with the tritonserver that the gateway starts.
        log: where the gateway's log goes; replaced.
        words: further ones for its command line.

    Raises:
        GatewayError: it ended, or did not serve in time.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = [sys.executable, "-m", "server", "--port", str(port)]
    command += ["--repository", str(repository), "--triton-venv", str(triton_venv)]
    command += [word for port_name in TRITON_PORTS for word in (port_name, "0")]
    command += words
    with log.open("wb") as output, _stopped_after(_started(command, output)) as process:
        address = f"{LOOPBACK}:{port}"
        _wait_until_serving(process, address, log)
        yield address


def _started(command: list[str], output: BinaryIO) -> subprocess.Popen[bytes]:
    # In a session of its own, so that Ctrl-C reaches only this process, which then stops it once.
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


@contextmanager
def _stopped_after(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_serving(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    with grpc.insecure_channel(address, channel_options(address)) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        while not _serves(health):
            if process.poll() is not None:
                raise GatewayError(_with_log(f"the gateway ended ({process.returncode})", log))
            if time.monotonic() > deadline_s:
                problem = f"the gateway did not serve within {START_TIMEOUT_S:g} s"
                raise GatewayError(_with_log(problem, log))
            time.sleep(POLL_S)


def _serves(health: Any) -> bool:
    try:
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=CHECK_TIMEOUT_S)
    except grpc.RpcError:
        return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


def _with_log(problem: str, log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
    return "\n".join([f"{problem}; the end of {log}:", *lines])
