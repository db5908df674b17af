"""What somebody takes of the engines, while others use them, too."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from server.triton.contract import Arrays, Network
from server.triton.engine import Engine
from server.triton.layer import Layer


class SharedTime:
    """Seconds of engines, of which executions that run at once get equal shares.

    So what all of them get together in some time is at most that, for each engine; where there is
    none just now, nobody gets any.
    """

    def __init__(
        self, engines: Callable[[], int], now: Callable[[], float] = time.monotonic
    ) -> None:
        """Begins with nothing running.

        Args:
            engines: tells how many there are just now.
            now: a monotonic clock in seconds.
        """
        self._engines = engines
        self._now = now
        self._running = 0
        self._at_s = now()
        self._share_s = 0.0

    def begin(self) -> float:
        """Begins an execution, and returns what one that had always run would have got so far."""
        self._advance()
        self._running += 1
        return self._share_s

    def end(self) -> float:
        """Ends an execution, and returns the same."""
        self._advance()
        self._running -= 1
        return self._share_s

    def _advance(self) -> None:
        before_s, self._at_s = self._at_s, self._now()
        if self._running:
            share = min(1.0, self._engines() / self._running)
            self._share_s += share * (self._at_s - before_s)


class UsageEngine(Layer):
    """Adds up what its executions take of the engines."""

    def __init__(self, engine: Engine, shared: SharedTime) -> None:
        """Begins with nothing used.

        Args:
            engine: runs the networks.
            shared: the clock of all who use the engines.
        """
        super().__init__(engine)
        self._shared = shared
        self._used_s = 0.0

    def take(self) -> float:
        """Returns the seconds that were used since this was asked last."""
        used_s, self._used_s = self._used_s, 0.0
        return used_s

    @asynccontextmanager
    async def around(self, network: Network, inputs: Arrays) -> AsyncGenerator[None]:
        """Counts an execution, whatever it comes to."""
        began_s = self._shared.begin()
        try:
            yield
        finally:
            self._used_s += self._shared.end() - began_s
