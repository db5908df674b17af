"""Keeps what is known of an endpoint true, and has a Triton of our own replaced if need be.

A Triton whose stub process has died still calls itself ready, so nothing less than an inference
tells that networks run. While streams run, their executions tell it, and one network of them that
hangs (`server.triton.pace`); else there are trials. A Triton that hangs as a whole does not answer
at all; a sign of life costs nothing, so it is asked for whatever else is going on. A Triton that
works hard gives it, and completes executions. That the networks are of the right checkpoint
(`server.triton.checkpoint`) costs next to nothing to ask, either.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

import structlog

from server.errors import EngineUnavailableError
from server.triton.checkpoint import OtherCheckpointError
from server.triton.contract import SERVED, TEXT_ENCODER
from server.triton.endpoint import Endpoint

LIFE_INTERVAL_S, LIFE_TIMEOUT_S, MISSES = 2.0, 3.0, 2
"""A Triton that hangs is found within 8 s."""
HANG_INTERVAL_S = 0.5
RETRY_S = 2.0
TRIAL_TIMEOUT_S, TRIAL_FACTOR = 5.0, 3.0
"""A trial may take that long, or so many times as long as the one before of every network."""
REST_FACTOR = 7.0
"""Between trials are at least so many times what one took."""
FAILURES_TO_REPLACE = 2
EVERY = frozenset(name for networks in SERVED.values() for name in networks)
ROUTINE = EVERY - {TEXT_ENCODER.name}
"""At the public size umT5 takes seconds, so it is tried only where there is a reason to."""

log = structlog.get_logger()


class Keeper(Protocol):
    """Keeps the Triton behind an endpoint running, if it is our own."""

    async def ready(self) -> None:
        """Waits until a Triton is up."""
        ...

    def replace(self) -> None:
        """Says that inferences fail: this Triton is to be replaced."""
        ...


class Watch:
    """Tries one endpoint: admits it when it works, ejects it when it does not."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        live: Callable[[float], Awaitable[None]],
        identify: Callable[[float], Awaitable[None]],
        probe: Callable[[Collection[str]], Awaitable[None]],
        keeper: Keeper | None,
        interval_s: float,
    ) -> None:
        """Begins to watch when it is run.

        Args:
            endpoint: what is watched.
            live: raises if there is no sign of life within some seconds.
            identify: raises `OtherCheckpointError` if another checkpoint is served; waits for each
                answer for so many seconds.
            probe: tries networks by name; raises if an inference fails.
            keeper: replaces a Triton that does not work, if it is our own.
            interval_s: how long to rest between trials at least, while nothing else tells.
        """
        self._endpoint = endpoint
        self._live = live
        self._identify = identify
        self._probe = probe
        self._keeper = keeper
        self._interval_s = interval_s
        self._failures = 0
        self._completed = 0
        self._patience_s: float | None = None
        """How long a trial may take; a Triton that is new may take any time."""
        self._rest_s = interval_s

    async def run(self) -> None:
        """Watches until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._look_for_hangs())
            tasks.create_task(self._try_again_and_again())

    async def _listen(self) -> None:
        misses = 0
        while True:
            await asyncio.sleep(LIFE_INTERVAL_S)
            if self._keeper:
                await self._keeper.ready()
            misses = 0 if await self._lives() else misses + 1
            if misses >= MISSES:
                misses = 0
                self._lost("it gives no sign of life")

    async def _lives(self) -> bool:
        completed = self._endpoint.meter.completed
        try:
            await self._live(LIFE_TIMEOUT_S)
        except EngineUnavailableError:
            return self._endpoint.meter.completed > completed
        return True

    async def _look_for_hangs(self) -> None:
        seen: str | None = None
        while True:
            await asyncio.sleep(HANG_INTERVAL_S)
            hung = self._endpoint.meter.pace.hung() if self._endpoint.usable else None
            # After the event loop was held up, answers that have come are still to be read.
            if hung and hung == seen:
                self._lost(f"{hung} hangs")
            seen = hung

    def _lost(self, problem: str) -> None:
        self._endpoint.eject(problem)
        self._patience_s = None
        self._failures = 0
        if self._keeper:
            self._keeper.replace()

    async def _try_again_and_again(self) -> None:
        while True:
            if self._keeper:
                await self._keeper.ready()
            await self._try()
            await self._pause()

    async def _try(self) -> None:
        endpoint, meter = self._endpoint, self._endpoint.meter
        networks = self._to_try()
        self._completed = meter.completed
        quiet = meter.in_flight == 0
        try:
            await self._probed(networks)
        except OtherCheckpointError as error:
            # No failure: a Triton that is replaced would serve the same.
            endpoint.refuse(str(error))
        # Whatever a known good inference fails with, it must not go unnoticed.
        except Exception as error:
            quiet = quiet and meter.in_flight == 0 and meter.completed == self._completed
            self._failed(error, quiet)
        else:
            self._failures = 0
            endpoint.admit()

    def _to_try(self) -> Collection[str]:
        suspects = self._endpoint.take_suspects()
        if not self._endpoint.usable:
            return EVERY
        # A failed execution is no reason to try more than its own network, or clients could keep a
        # Triton busy with trials. What streams run is proof enough, or will be.
        meter = self._endpoint.meter
        quiet = meter.in_flight == 0 and meter.completed == self._completed
        return suspects or (ROUTINE if quiet else ())

    async def _probed(self, networks: Collection[str]) -> None:
        if not networks:
            # However busy, it may have been started again meanwhile.
            await self._identify(LIFE_TIMEOUT_S)
            return
        now = asyncio.get_running_loop().time
        began_s = now()
        await self._live(LIFE_TIMEOUT_S)
        # First: networks of another checkpoint may fail, and that is no reason to replace Triton.
        await self._identify(LIFE_TIMEOUT_S)
        async with (
            self._endpoint.until_ejected("a trial"),
            asyncio.timeout(self._patience_s),
        ):
            await self._probe(networks)
        took_s = now() - began_s
        self._rest_s = max(self._interval_s, REST_FACTOR * took_s)
        if networks is EVERY:
            self._patience_s = max(TRIAL_TIMEOUT_S, TRIAL_FACTOR * took_s)

    def _failed(self, error: Exception, quiet: bool) -> None:
        """Judges a failed trial: beside other work it may have been too much, alone it may not."""
        problem = str(error) or "it took too long"
        log.warning("an inference failed", url=self._endpoint.url, problem=problem)
        if isinstance(error, EngineUnavailableError):
            self._patience_s = None
        elif not quiet:
            return
        self._failures += 1
        if self._failures < FAILURES_TO_REPLACE:
            self._endpoint.eject(problem)
        else:
            self._lost(problem)

    async def _pause(self) -> None:
        if not self._endpoint.usable:
            await asyncio.sleep(RETRY_S)
            return
        try:
            async with asyncio.timeout(self._rest_s):
                await self._endpoint.suspected.wait()
        except TimeoutError:
            return
