"""One Triton of several, and whether it can be used."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import structlog

from server.errors import EngineUnavailableError, ExecutionFailedError, ExecutionTimeoutError
from server.triton.contract import Arrays, Network
from server.triton.layer import Layer
from server.triton.metering import MeteredEngine

log = structlog.get_logger()


class Endpoint(Layer):
    """Runs networks on one Triton while it works.

    A fault of the engine ejects it: what runs there fails at once, so that it can be tried
    elsewhere, and nothing else is begun until somebody who has tried it says that it works again.
    """

    def __init__(
        self, url: str, meter: MeteredEngine, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """Begins as one that cannot be used.

        Args:
            url: names it in the log.
            meter: the Triton's engine.
            on_change: told when it becomes usable, and when it no longer is.
        """
        super().__init__(meter)
        self.url = url
        self.meter = meter
        self.admitted = asyncio.Event()
        """Set while it can be used."""
        self.refusal: str | None = None
        """Why it must not be used although it works, if so."""
        self.suspected = asyncio.Event()
        """Set while something has gone wrong that only a trial can explain."""
        self._suspects: set[str] = set()
        self._on_change = on_change
        self._running: set[asyncio.Timeout] = set()

    @property
    def usable(self) -> bool:
        """Whether it can be used."""
        return self.admitted.is_set()

    @property
    def load(self) -> int:
        """How much it has to do, against others."""
        return self.meter.in_flight + self.meter.placed

    def take_suspects(self) -> set[str]:
        """Returns the networks that have failed since they were asked for; a trial is to follow."""
        self.suspected.clear()
        suspects, self._suspects = self._suspects, set()
        return suspects

    def admit(self) -> None:
        """Says that it has been tried and works."""
        self.refusal = None
        if not self.usable:
            self.admitted.set()
            self.meter.pace.forget()
            log.info("triton is used", url=self.url)
            self._on_change()

    def eject(self, problem: str) -> None:
        """Says that it cannot be used; what runs on it fails."""
        if self.usable:
            log.warning("triton is not used", url=self.url, problem=problem)
        self.refusal = None
        self._withdraw()

    def refuse(self, problem: str) -> None:
        """Says that it must not be used, although it works; what runs on it fails."""
        if problem != self.refusal:
            log.error("triton is refused", url=self.url, problem=problem)
        self.refusal = problem
        self._withdraw()

    @asynccontextmanager
    async def around(self, network: Network, inputs: Arrays) -> AsyncGenerator[None]:
        """Runs an execution, and draws the conclusion if it fails.

        Raises:
            EngineUnavailableError: this Triton cannot be used, or no longer.
        """
        if not self.usable:
            raise EngineUnavailableError(network.name, "this Triton is not used now")
        try:
            async with self.until_ejected(network.name):
                yield
        except EngineUnavailableError as error:
            # What was ended with this Triton is no news.
            if self.usable:
                self.eject(error.problem)
            raise
        except (ExecutionFailedError, ExecutionTimeoutError):
            self._suspects.add(network.name)
            self.suspected.set()
            raise

    @asynccontextmanager
    async def until_ejected(self, what: str) -> AsyncGenerator[None]:
        """Ends what is done within when this Triton is ejected.

        Raises:
            EngineUnavailableError: it was.
        """
        running = asyncio.timeout(None)
        try:
            async with running:
                self._running.add(running)
                try:
                    yield
                finally:
                    self._running.discard(running)
        except TimeoutError as error:
            if not running.expired():
                raise
            raise EngineUnavailableError(what, "this Triton was lost on the way") from error

    def _withdraw(self) -> None:
        self.suspected.set()
        now = asyncio.get_running_loop().time()
        for running in self._running:
            running.reschedule(now)
        if self.usable:
            self.admitted.clear()
            self._on_change()
