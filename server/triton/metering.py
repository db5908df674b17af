"""What runs on an engine just now, and what has."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from server.triton.contract import Arrays, Network
from server.triton.engine import Engine, Placed
from server.triton.layer import Layer
from server.triton.pace import Pace


class MeteredEngine(Layer):
    """Counts the executions of another engine."""

    def __init__(self, engine: Engine, now: Callable[[], float] = time.monotonic) -> None:
        """Begins with nothing counted; ``now`` is a monotonic clock in seconds."""
        super().__init__(engine)
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
        self.in_flight += 1
        try:
            with self.pace.execution(network, inputs):
                yield
            self.completed += 1
        finally:
            self.in_flight -= 1

    @asynccontextmanager
    async def place(self, network: Network, constants: Arrays) -> AsyncGenerator[Placed]:
        """Places constants; see `server.triton.engine.Engine`."""
        self.placed += 1
        try:
            async with super().place(network, constants) as placed:
                yield placed
        finally:
            self.placed -= 1
