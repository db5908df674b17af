"""Keeps a Triton of our own running: one that dies, or whose networks fail, is replaced."""

import asyncio
from collections.abc import Callable

import structlog

from server.settings import Settings
from server.triton.installation import TritonInstallation
from server.triton.ports import LOOPBACK, Ports, choose_ports
from server.triton.process import RunningTriton, Threads, start_triton

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
            )
        )
        self._ready = asyncio.Event()
        self._broken = asyncio.Event()

    @property
    def url(self) -> str:
        """The gRPC address of every Triton that this one keeps."""
        return f"{LOOPBACK}:{self._ports.grpc}"

    async def ready(self) -> None:
        """Waits until a Triton is up."""
        await self._ready.wait()

    def replace(self) -> None:
        """Says that inferences fail: this Triton is to be replaced."""
        self._broken.set()

    async def run(self, on_loss: Callable[[], None]) -> None:
        """Runs until cancelled; says when a Triton is lost.

        Raises:
            TritonStartError: a Triton does not start.
        """
        settings = self._settings
        installation = await asyncio.to_thread(TritonInstallation.find, settings.triton_venv)
        while True:
            async with start_triton(
                installation,
                settings.repository,
                runtime_dir=settings.triton_log.parent,
                log_path=settings.triton_log,
                ports=self._ports,
                threads=Threads(intra_op=settings.triton_threads),
                startup_deadline_s=settings.triton_start_timeout_s,
            ) as triton:
                log.info("triton is up", pid=triton.pid, log=str(triton.log_path))
                self._ready.set()
                await self._until_unusable(triton)
                self._ready.clear()
                on_loss()

    async def _until_unusable(self, triton: RunningTriton) -> None:
        self._broken.clear()
        died = asyncio.create_task(triton.wait())
        broken = asyncio.create_task(self._broken.wait())
        try:
            await asyncio.wait((died, broken), return_when=asyncio.FIRST_COMPLETED)
        finally:
            died.cancel()
            broken.cancel()
        if self._broken.is_set():
            # A Triton whose stub has died no longer reacts to SIGTERM.
            triton.kill()
        problem = "inferences fail" if self._broken.is_set() else "it died"
        log.error("triton is replaced", problem=problem, pid=triton.pid)
