"""Whose executions go first: those that somebody waits for more.

Triton's own levels of priority hold executions back (docs/triton.md), so it is settled before an
execution gets there. Once there, an execution cannot be called back, and others of its kind may be
merged with it; so others wait until the work of the first is done, not just for a place in a queue.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

LINGER_S = 0.05
"""The next step of a stream follows the one before after less than that."""
PATIENCE_S = 2.0
"""So that one that hangs, or one after another, does not keep the others out."""


class Precedence:
    """Lets some executions go before all others."""

    def __init__(
        self,
        *,
        linger_s: float = LINGER_S,
        patience_s: float = PATIENCE_S,
        room: Callable[[], int] = lambda: 1,
    ) -> None:
        """Begins with nothing that goes first.

        Args:
            linger_s: how long others go on waiting after an execution that went first.
            patience_s: how long an execution waits at most.
            room: tells from how many on that go first the others wait.
        """
        self._linger_s = linger_s
        self._patience_s = patience_s
        self._room = room
        self._first = 0
        self._clear = asyncio.Event()
        self._clear.set()
        self._clearing: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(self, *, first: bool, patience_s: float | None = None) -> AsyncGenerator[None]:
        """Waits for an execution's turn; the execution happens within.

        Args:
            first: whether it goes before others.
            patience_s: how long it waits at most, where that is less than all others wait.
        """
        if not first:
            longest_s = self._patience_s if patience_s is None else patience_s
            with suppress(TimeoutError):
                async with asyncio.timeout(min(longest_s, self._patience_s)):
                    await self._clear.wait()
            yield
            return
        self._begin()
        try:
            yield
        finally:
            self._end()

    def _begin(self) -> None:
        self._first += 1
        if self._first >= self._room():
            self._clear.clear()
            self._stop_clearing()

    def _end(self) -> None:
        self._first -= 1
        if self._first < max(1, self._room()):
            self._stop_clearing()
            loop = asyncio.get_running_loop()
            self._clearing = loop.call_later(self._linger_s, self._clear.set)

    def _stop_clearing(self) -> None:
        if self._clearing:
            self._clearing.cancel()
