"""Whether the event loop is held up: while something holds it, every stream waits.

Nothing that blocks belongs on it. Here is seen whether that is true: a sleep that lasts longer than
it should was held up by so much.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

INTERVAL_S = 0.02
"""How exactly a hold-up is told: it may have begun so much earlier than it is seen."""
LONG_S = 0.1
WARNING_INTERVAL_S = 10.0

log = structlog.get_logger()


class LoopLag:
    """Watches the event loop that it runs on."""

    def __init__(
        self,
        observe: Callable[[float], None],
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Begins to watch when it is run.

        Args:
            observe: told how long, in seconds, each sleep was held up.
            now: a monotonic clock in seconds.
            sleep: waits for some seconds.
        """
        self._observe = observe
        self._now = now
        self._sleep = sleep

    async def run(self) -> None:
        """Watches until cancelled; what is long is a warning, now and then."""
        longest_s, times, silent_until_s = 0.0, 0, self._now()
        while True:
            began_s = self._now()
            await self._sleep(INTERVAL_S)
            ended_s = self._now()
            lag_s = max(0.0, ended_s - began_s - INTERVAL_S)
            self._observe(lag_s)
            if lag_s > LONG_S:
                longest_s, times = max(longest_s, lag_s), times + 1
            if times and ended_s >= silent_until_s:
                longest_ms = round(1000 * longest_s)
                log.warning("the event loop was held up", longest_ms=longest_ms, times=times)
                longest_s, times, silent_until_s = 0.0, 0, ended_s + WARNING_INTERVAL_S
