"""A stream that has enough to play lets those go first that have not."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from server.triton.contract import Arrays, Network
from server.triton.layer import Layer
from server.triton.precedence import Precedence
from server.triton.usage import UsageEngine


class YieldingEngine(Layer):
    """Runs a stream's executions at once where they are due, and else after those that are.

    It waits no longer than it is told that there is time, so that nobody starves: who has waited
    long enough is due.
    """

    def __init__(
        self, usage: UsageEngine, precedence: Precedence, spare_s: Callable[[], float]
    ) -> None:
        """Is as much in a hurry as it is told.

        Args:
            usage: runs the networks for the stream, and counts what that takes.
            precedence: of all streams.
            spare_s: tells how many seconds the stream can wait just now; 0 or less where it cannot.
        """
        super().__init__(usage)
        self._usage = usage
        self._precedence = precedence
        self._spare_s = spare_s
        self._held_s = 0.0

    def take(self) -> tuple[float, float]:
        """Returns seconds of engines used, and seconds waited, since this was asked last."""
        held_s, self._held_s = self._held_s, 0.0
        return self._usage.take(), held_s

    @asynccontextmanager
    async def around(self, network: Network, inputs: Arrays) -> AsyncGenerator[None]:
        """Waits for the executions that are due more."""
        now, spare_s = asyncio.get_running_loop().time, self._spare_s()
        asked_s = now()
        async with self._precedence.turn(first=spare_s <= 0, patience_s=spare_s):
            self._held_s += now() - asked_s
            yield
