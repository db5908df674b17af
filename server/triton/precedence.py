"""Who goes first on a Triton: streams that have shown no frame yet.

Triton's own levels of priority hold executions back (docs/triton.md), so it is settled before an
execution gets there. Once there, an execution cannot be called back, and others of its kind may be
merged with it; so others wait until a newcomer's work is done, not just for a place in a queue.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

LINGER_S = 0.05
"""A newcomer's next step follows the one before after less than that."""
PATIENCE_S = 2.0
"""So that a newcomer that hangs, or one after another, does not keep the others out."""


class Precedence:
    """Lets the executions of newcomers go before all others."""

    def __init__(self, *, linger_s: float = LINGER_S, patience_s: float = PATIENCE_S) -> None:
        """Begins without newcomers.

        Args:
            linger_s: how long others go on waiting after a newcomer's execution.
            patience_s: how long an execution waits for newcomers at most.
        """
        self._linger_s = linger_s
        self._patience_s = patience_s
        self._newcomers = 0
        self._clear = asyncio.Event()
        self._clear.set()
        self._clearing: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(self, *, newcomer: bool) -> AsyncGenerator[None]:
        """Waits for an execution's turn; the execution happens within."""
        if not newcomer:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s):
                    await self._clear.wait()
            yield
            return
        self._begin()
        try:
            yield
        finally:
            self._end()

    def _begin(self) -> None:
        self._newcomers += 1
        self._clear.clear()
        if self._clearing:
            self._clearing.cancel()

    def _end(self) -> None:
        self._newcomers -= 1
        if not self._newcomers:
            loop = asyncio.get_running_loop()
            self._clearing = loop.call_later(self._linger_s, self._clear.set)
