"""How long a client may take, by a process that may stand still itself."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


@asynccontextmanager
async def patience(timeout_s: float) -> AsyncGenerator[None]:
    """Is `asyncio.timeout`, but where this process stood still, half of the time is left at least.

    A process that is stopped, or whose machine sleeps, would else blame the client for it.

    Raises:
        TimeoutError: what happens within took longer.
    """
    loop = asyncio.get_running_loop()
    half_s = timeout_s / 2
    async with asyncio.timeout(None) as scope:
        halfway = loop.call_later(half_s, lambda: scope.reschedule(loop.time() + half_s))
        try:
            yield
        finally:
            halfway.cancel()
