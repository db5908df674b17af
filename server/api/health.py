"""Health as clients ask for it: SERVING while a Triton is known to work."""

# These libraries' own annotations are missing or partial.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import asyncio
from collections.abc import Callable

import structlog
from echomimic.v1 import avatar_service_pb2 as pb
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

AVATAR_SERVICE = pb.DESCRIPTOR.services_by_name["AvatarService"].full_name

log = structlog.get_logger()


class HealthMonitor:
    """Keeps the status of grpc.health.v1 true."""

    def __init__(self, servicer: HealthServicer, works: Callable[[], bool]) -> None:
        """Says NOT_SERVING as soon as `run` has begun.

        Args:
            servicer: what clients ask.
            works: whether the server can do what it is for.
        """
        self.begun = asyncio.Event()
        self._servicer = servicer
        self._works = works
        self._changed = asyncio.Event()

    def notice(self) -> None:
        """Says that it may have changed whether the server works."""
        self._changed.set()

    async def run(self) -> None:
        """Tells the servicer whatever changes, until cancelled."""
        serving = False
        while True:
            await self._set(serving)
            self.begun.set()
            await self._changed.wait()
            self._changed.clear()
            if serving != self._works():
                serving = not serving
                log.info("health", serving=serving)

    async def _set(self, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.ServingStatus
        for service in ("", AVATAR_SERVICE):
            await self._servicer.set(service, status.SERVING if serving else status.NOT_SERVING)
