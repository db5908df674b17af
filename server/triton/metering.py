"""What runs on an engine just now, and what has."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from server.errors import (
    EngineUnavailableError,
    ExecutionFailedError,
    ExecutionTimeoutError,
    OutOfMemoryError,
)
from server.spans import current, within
from server.triton.contract import Arrays, Network
from server.triton.engine import Engine, Placed
from server.triton.layer import Layer
from server.triton.pace import Pace

OUTCOMES: dict[type[BaseException], str] = {
    asyncio.CancelledError: "cancelled",
    EngineUnavailableError: "unavailable",
    ExecutionTimeoutError: "timeout",
    OutOfMemoryError: "out_of_memory",
    ExecutionFailedError: "failed",
}
"""What executions that do not succeed come to; anything else is an ``error``."""
Ended = Callable[[str, str, float], None]
"""Told of each execution its network, its outcome (``ok`` if it succeeds) and its seconds."""


def ignored(network: str, outcome: str, seconds: float) -> None:
    """Is told how an execution ended, and does nothing about it."""


class MeteredEngine(Layer):
    """Counts the executions of another engine."""

    def __init__(
        self,
        engine: Engine,
        now: Callable[[], float] = time.monotonic,
        ended: Ended = ignored,
    ) -> None:
        """Begins with nothing counted.

        Args:
            engine: whose executions are counted.
            now: a monotonic clock in seconds.
            ended: told of every execution.
        """
        super().__init__(engine)
        self._now = now
        self._ended = ended
        self.pace = Pace(now)
        self.in_flight = 0
        """Executions that have begun and not ended."""
        self.completed = 0
        """Executions that have succeeded so far."""
        self.placed = 0
        """Networks whose constants lie there: more executions are about to come."""

    @asynccontextmanager
    async def around(self, network: Network, inputs: Arrays) -> AsyncGenerator[None]:
        """Counts an execution."""
        began_s, outcome = self._now(), "ok"
        span = current().child(network.name)
        self.in_flight += 1
        try:
            with within(span), self.pace.execution(network, inputs):
                yield
            self.completed += 1
        except BaseException as error:
            outcome = OUTCOMES.get(type(error), "error")
            raise
        finally:
            self.in_flight -= 1
            span.end("" if outcome == "ok" else outcome)
            self._ended(network.name, outcome, self._now() - began_s)

    @asynccontextmanager
    async def place(self, network: Network, constants: Arrays) -> AsyncGenerator[Placed]:
        """Places constants; see `server.triton.engine.Engine`."""
        self.placed += 1
        try:
            async with super().place(network, constants) as placed:
                yield placed
        finally:
            self.placed -= 1
