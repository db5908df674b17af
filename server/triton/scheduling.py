"""Which of several Tritons runs what: the one with the least to do."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from server.errors import EngineUnavailableError
from server.triton.contract import Arrays, Network
from server.triton.endpoint import Endpoint
from server.triton.engine import Engine, Placed, Priority, Results


class ScheduledEngine(Engine):
    """Runs each execution on one of several endpoints; with constants placed, all on the same."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = endpoints

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> Results:
        """Runs a network once; see `server.triton.engine.Engine`."""
        return await self._choose(network).run(
            network, inputs, outputs, priority=priority, timeout_s=timeout_s
        )

    @asynccontextmanager
    async def place(self, network: Network, constants: Arrays) -> AsyncGenerator[Placed]:
        """Places constants; see `server.triton.engine.Engine`."""
        async with self._choose(network).place(network, constants) as placed:
            yield placed

    async def until_usable(self, network: Network, timeout_s: float) -> None:
        """Waits for a Triton that can be used.

        Raises:
            EngineUnavailableError: there was none in time, or waiting is no use.
        """
        if any(endpoint.usable for endpoint in self._endpoints):
            return
        if not any(endpoint.refusal for endpoint in self._endpoints):
            admitted = [asyncio.ensure_future(e.admitted.wait()) for e in self._endpoints]
            try:
                done, _ = await asyncio.wait(
                    admitted, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                for waiting in admitted:
                    waiting.cancel()
            if done:
                return
        raise EngineUnavailableError(network.name, self._why_none())

    def _choose(self, network: Network) -> Endpoint:
        usable = [endpoint for endpoint in self._endpoints if endpoint.usable]
        if not usable:
            raise EngineUnavailableError(network.name, self._why_none())
        # Among equals, the one that has done less.
        return min(usable, key=lambda e: (e.suspected.is_set(), e.load, e.meter.completed))

    def _why_none(self) -> str:
        if any(endpoint.refusal for endpoint in self._endpoints):
            return "what Triton serves is of another checkpoint than this server's"
        return "there is no Triton that can be used now"
