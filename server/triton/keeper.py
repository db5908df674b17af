"""Keeps a Triton of our own running: one that dies, or whose networks fail, is replaced."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from server.errors import EngineUnavailableError
from server.settings import DEFAULT_PORT, Settings
from server.triton.container import Installation, find_triton
from server.triton.errors import StartupExitError
from server.triton.ports import FREE_PORTS, LOOPBACK, USUAL_PORTS, Ports, choose_ports
from server.triton.process import RunningTriton, Threads, start_triton

MAX_CRASHES = 3
"""In a row, of Tritons that start: their Python backend crashes at times when much else runs."""
REACH_TIMEOUT_S = 1.0
REACH_INTERVAL_S = 0.1
ALLOW_SHARED_MEMORY = "--allow-client-shm"

log = structlog.get_logger()


class TritonKeeper:
    """Runs one Triton after the other, on the same ports."""

    def __init__(self, settings: Settings) -> None:
        """Chooses the ports.

        Raises:
            PortInUseError: one that was asked for is taken.
        """
        self._settings = settings
        self._ports = choose_ports(
            Ports(
                http=settings.triton_http_port,
                grpc=settings.triton_grpc_port,
                metrics=settings.triton_metrics_port,
            ),
            # A Triton that loads its models does not listen yet. So that two gateways which start
            # together do not choose the same ports, only one of them prefers any.
            preferred=USUAL_PORTS if settings.port == DEFAULT_PORT else FREE_PORTS,
        )
        self._ready = asyncio.Event()
        self._broken = asyncio.Event()

    @property
    def url(self) -> str:
        """The gRPC address of every Triton that this one keeps."""
        return f"{LOOPBACK}:{self._ports.grpc}"

    async def ready(self) -> None:
        """Waits until a Triton is up and can be reached."""
        await self._ready.wait()

    def replace(self) -> None:
        """Says that inferences fail: this Triton is to be replaced."""
        self._broken.set()

    async def run(
        self, on_loss: Callable[[], None], live: Callable[[float], Awaitable[None]]
    ) -> None:
        """Runs until cancelled.

        Args:
            on_loss: told when a Triton is lost.
            live: asks Triton for a sign of life, by the connection that executions take, and waits
                for it for so many seconds. That connection may not know yet that a Triton is back.

        Raises:
            TritonStartError: a Triton does not start, or crashes again and again while it does.
        """
        settings = self._settings
        installation = await asyncio.to_thread(find_triton, settings.triton_venv)
        options = await asyncio.to_thread(_options, installation, settings)
        crashes = 0
        while True:
            try:
                async with start_triton(
                    installation,
                    settings.repository,
                    runtime_dir=settings.triton_log.parent,
                    log_path=settings.triton_log,
                    ports=self._ports,
                    threads=Threads(intra_op=settings.triton_threads),
                    options=options,
                    startup_deadline_s=settings.triton_start_timeout_s,
                ) as triton:
                    crashes = 0
                    await self._until_unusable(triton, live)
                    self._ready.clear()
                    on_loss()
            except StartupExitError as error:
                crashes += 1
                if not error.is_crash or crashes == MAX_CRASHES:
                    raise
                log.warning("triton is started again", problem=str(error))

    async def _announce(
        self, triton: RunningTriton, live: Callable[[float], Awaitable[None]]
    ) -> None:
        while True:
            try:
                await live(REACH_TIMEOUT_S)
                break
            except EngineUnavailableError:
                await asyncio.sleep(REACH_INTERVAL_S)
        log.info(
            "triton is up",
            pid=triton.pid,
            grpc=triton.grpc_url,
            http=triton.http_url,
            metrics=triton.metrics_url,
            log=str(triton.log_path),
        )
        self._ready.set()

    async def _until_unusable(
        self, triton: RunningTriton, live: Callable[[float], Awaitable[None]]
    ) -> None:
        self._broken.clear()
        announced = asyncio.create_task(self._announce(triton, live))
        died = asyncio.create_task(triton.wait())
        broken = asyncio.create_task(self._broken.wait())
        try:
            await asyncio.wait((died, broken), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (announced, died, broken):
                task.cancel()
        if self._broken.is_set():
            # A Triton whose stub has died no longer reacts to SIGTERM.
            triton.kill()
        problem = "inferences fail" if self._broken.is_set() else "it died"
        log.error("triton is replaced", problem=problem, pid=triton.pid)


def _options(installation: Installation, settings: Settings) -> list[str]:
    # Newer Tritons take no regions of clients without it; older ones do not know it.
    wanted = settings.triton_shared_memory != "off" and installation.knows(ALLOW_SHARED_MEMORY)
    shared = [f"{ALLOW_SHARED_MEMORY}=true"] if wanted else []
    return shared + (
        trace_options(settings.triton_traces_url) if settings.triton_traces_url else []
    )


def trace_options(url: str) -> list[str]:
    """Returns the options by which Triton goes on with traces, to a collector of OTLP by HTTP."""
    said = (
        "mode=opentelemetry",
        "level=TIMESTAMPS",
        # Requests that are of a trace are told all the same; others, as trials, are not.
        "rate=0",
        f"opentelemetry,url={url}",
        "opentelemetry,resource=service.name=triton",
    )
    return [f"--trace-config={word}" for word in said]
