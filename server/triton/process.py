"""A tritonserver of our own: started, watched and stopped.

It listens on the loopback interface only. It is in a session of its own, so that Ctrl-C reaches the
gateway alone, which finishes what it has begun and then stops Triton. The kernel kills it when the
gateway, or the thread whose event loop started it, ends in any other way.
"""

import asyncio
import json
import math
import os
import re
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from server.triton.container import Installation
from server.triton.errors import (
    EngineMissingError,
    ModelLoadError,
    StartupExitError,
    StartupTimeoutError,
    TritonStartError,
)
from server.triton.ports import FREE_PORTS, LOOPBACK, Ports, choose_ports
from server.triton.workdir import working_directory

LAUNCHER = Path(__file__).with_name("launcher.py")
PARAMETERS_VARIABLE = "ONNXRUNTIME_BACKEND_PARAMETERS"
"""How thread counts reach backends/onnxruntime/model.py."""
ENGINES = (".onnx", ".plan")
POLL_INTERVAL_S = 0.05
LOAD_FAILURE = re.compile(
    r"(?:failed to load|Poll failed for model directory) '([^']+)'(?: version \d+)?: (.*)\"$",
    re.MULTILINE,
)
LAST_WORDS = re.compile(r"^(?:E.* main\.cc:\d+\] \"|error: )(.*?)[ \"]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Threads:
    """Threads of one execution of one model; 0 takes every core that this process may use.

    Models share the cores: each has that many threads, and idle ones sleep. How many executions of
    a model run at a time is the instance count in its config.pbtxt; Triton has no option for it.
    """

    intra_op: int = 0
    inter_op: int = 1

    def parameters(self) -> dict[str, str]:
        """As parameters of Triton's onnxruntime backend."""
        cores = len(os.sched_getaffinity(0))
        return {
            "intra_op_thread_count": str(self.intra_op or cores),
            "inter_op_thread_count": str(self.inter_op or cores),
        }


ALL_CORES = Threads()


@dataclass(frozen=True, slots=True)
class RunningTriton:
    """A Triton with all its models loaded. `grpc_url` and `http_url` are host:port."""

    grpc_url: str
    http_url: str
    metrics_url: str
    pid: int
    log_path: Path
    process: asyncio.subprocess.Process = field(repr=False)

    async def wait(self) -> int:
        """Waits for its end; returns the exit status, negative for a signal."""
        return await self.process.wait()

    def kill(self) -> None:
        """Ends it and its stubs at once.

        For one whose stub has died: when it is told to stop, it waits for that stub forever.
        """
        _kill(self.process)


@asynccontextmanager
async def start_triton(
    installation: Installation,
    repository: Path,
    *,
    runtime_dir: Path,
    log_path: Path,
    ports: Ports = FREE_PORTS,
    threads: Threads = ALL_CORES,
    options: Sequence[str] = (),
    startup_deadline_s: float = 300.0,
    stop_grace_s: float = 15.0,
) -> AsyncGenerator[RunningTriton]:
    """Runs Triton as long as the context lasts, with every model of a repository loaded.

    Args:
        installation: which Triton.
        repository: model repository; every model in it must load.
        runtime_dir: where this Triton's own directory is made, and removed in the end. What Tritons
            of killed processes left there is removed first.
        log_path: what Triton and its models write is appended here.
        ports: where to listen.
        threads: of each model's executions.
        options: of tritonserver, besides those that it always gets.
        startup_deadline_s: how long loading may take.
        stop_grace_s: how long stopping may take before Triton is killed; two to three seconds are
            Triton's own, the rest is for running inferences.

    Raises:
        TritonStartError: why it does not start, in one line. Nothing is left running.
    """
    check_engines(repository)
    ports = choose_ports(ports)
    with working_directory(runtime_dir) as workdir, _open_log(log_path) as log:
        _furnish(workdir, installation, repository)
        # Before it starts: the place in the file is one for both, and moves as it writes.
        log_start = log.tell()
        process = await _spawn(installation, workdir, ports, threads, options, stop_grace_s, log)
        grace_s = 0.0
        try:
            await _until_ready(process, ports, startup_deadline_s, log, log_start)
            grace_s = stop_grace_s
            yield RunningTriton(
                grpc_url=f"{LOOPBACK}:{ports.grpc}",
                http_url=f"{LOOPBACK}:{ports.http}",
                metrics_url=f"http://{LOOPBACK}:{ports.metrics}/metrics",
                pid=process.pid,
                log_path=log_path,
                process=process,
            )
        finally:
            await _stop(process, grace_s)


def check_engines(repository: Path) -> None:
    """Checks that every model of a repository has an ONNX file or a plan.

    Raises:
        EngineMissingError: one has none, or there is no model.
    """
    models = sorted(path.parent for path in repository.glob("*/config.pbtxt"))
    if not models:
        raise EngineMissingError("a folder with config.pbtxt", repository)
    for model in models:
        engines = [path for path in model.glob("*/*") if path.suffix in ENGINES]
        if not any(path.parent.name.isdecimal() for path in engines):
            raise EngineMissingError(f"{model.name}/1/model.onnx", repository)


def _furnish(workdir: Path, installation: Installation, repository: Path) -> None:
    """Lets Triton see relative paths only.

    It hands its paths to a shell unquoted, so they must hold no space, wherever they lead.
    """
    installation.assemble_backends(workdir / "backends")
    (workdir / "models").symlink_to(repository.absolute())


def _open_log(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab+")


async def _spawn(
    installation: Installation,
    workdir: Path,
    ports: Ports,
    threads: Threads,
    options: Sequence[str],
    stop_grace_s: float,
    log: BinaryIO,
) -> asyncio.subprocess.Process:
    command = [
        *(installation.python, "-I", LAUNCHER, str(os.getpid()), installation.tritonserver),
        "--model-repository=models",
        "--backend-directory=backends",
        # The configurations are complete; completing them starts every model twice.
        "--disable-auto-complete-config",
        # Names shared memory, so that it can be removed if nobody of theirs is left to do so.
        f"--backend-config=python,shm-region-prefix-name={workdir.name}-",
        f"--exit-timeout-secs={math.ceil(stop_grace_s)}",
        "--allow-gpu-metrics=false",
        *(f"--http-address={LOOPBACK}", f"--http-port={ports.http}"),
        *(f"--grpc-address={LOOPBACK}", f"--grpc-port={ports.grpc}"),
        # Else messages of requests long answered stay, eight each way, a window's video among them.
        "--grpc-infer-allocation-pool-size=0",
        *(f"--metrics-address={LOOPBACK}", f"--metrics-port={ports.metrics}"),
        *options,
    ]
    parameters = json.dumps(threads.parameters())
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=workdir,
        env=installation.environment() | {PARAMETERS_VARIABLE: parameters},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


async def _until_ready(
    process: asyncio.subprocess.Process,
    ports: Ports,
    deadline_s: float,
    log: BinaryIO,
    log_start: int,
) -> None:
    try:
        async with asyncio.timeout(deadline_s):
            while not await _ready(ports):
                if process.returncode is not None:
                    raise _failure(process.returncode, log, log_start)
                await asyncio.sleep(POLL_INTERVAL_S)
    except TimeoutError:
        raise StartupTimeoutError(deadline_s, Path(log.name)) from None


async def _ready(ports: Ports) -> bool:
    # Metrics come last, a moment after the models are served.
    return await _answers(ports.http, "/v2/health/ready") and await _answers(
        ports.metrics, "/metrics"
    )


async def _answers(port: int, path: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        with closing(writer):
            writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return b" 200 " in await reader.readline()
    except OSError:
        return False


def _failure(returncode: int, log: BinaryIO, log_start: int) -> TritonStartError:
    """What the log says about an end before readiness."""
    log.seek(log_start)
    text = log.read().decode(errors="replace")
    path = Path(log.name)
    if found := LOAD_FAILURE.search(text):
        model, reason = found.groups()
        # An exception of the backend comes with its type before and its traceback behind it.
        reason = reason.removeprefix("Internal: ").removeprefix("TritonModelException: ")
        return ModelLoadError(model, reason.partition(r"\n\nAt:")[0], path)
    lines = text.strip().splitlines() or ["nothing was logged"]
    words = LAST_WORDS.findall(text) or lines
    return StartupExitError(returncode, words[-1], path)


async def _stop(process: asyncio.subprocess.Process, grace_s: float) -> None:
    """Ends Triton and its stubs, and reaps it. Stubs of a dead Triton end by themselves."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(grace_s):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        _kill(process)
    await process.wait()


def _kill(process: asyncio.subprocess.Process) -> None:
    # Not reaped yet means that the number of its group is still its own.
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
