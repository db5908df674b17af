"""Who may work now: places for calls, bounded in all and for each caller, and how they close."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import NamedTuple

from server.access.caller import Caller
from server.errors import CapacityError, ShuttingDownError

RETRY_AFTER_S = 2.0


class OwnLimits(NamedTuple):
    """What a caller may hold at once.

    Attributes:
        streams: streams and renders.
        avatars: prepared portraits.
    """

    streams: int
    avatars: int


class Admission:
    """Counts calls, and ends those that are still at work when the server goes down."""

    def __init__(
        self,
        *,
        max_streams: int,
        max_streams_per_caller: int,
        max_opening: int,
        max_opening_per_caller: int,
    ) -> None:
        """Begins with every place free.

        Args:
            max_streams: calls at work.
            max_streams_per_caller: of them, those of a caller who has no limit of their own.
            max_opening: calls that have not said yet what they want. They hold no place, but the
                memory of a message.
            max_opening_per_caller: of them, those of one caller.
        """
        self._max_streams = max_streams
        self._max_streams_per_caller = max_streams_per_caller
        self._max_opening = max_opening
        self._max_opening_per_caller = max_opening_per_caller
        self._opening: Counter[str] = Counter()
        self._working: Counter[str] = Counter()
        self._scopes: set[asyncio.Timeout] = set()
        self._closing = asyncio.Event()
        self._left = asyncio.Event()

    @property
    def active(self) -> int:
        """Calls that hold a place."""
        return self._working.total()

    @property
    def is_open(self) -> bool:
        """Whether the server is not going down."""
        return not self._closing.is_set()

    def places_of(self, caller: Caller) -> int:
        """Returns how many places a caller may hold: their own limit, or else the common one."""
        own = caller.max_streams or self._max_streams_per_caller
        return min(own, self._max_streams)

    async def closing(self) -> None:
        """Returns when the server goes down, and takes no more calls."""
        await self._closing.wait()

    @contextmanager
    def opening(self, caller: Caller) -> Generator[None]:
        """Surrounds the wait for what a call wants.

        Raises:
            CapacityError: too many calls wait so.
            ShuttingDownError: the server is going down.
        """
        self._check_open()
        opening, most = self._opening, self._max_opening_per_caller
        _check("max_opening_calls", opening.total(), self._max_opening)
        _check("max_opening_calls_per_caller", opening[caller.name], most)
        with _counted(self._opening, caller.name):
            yield

    @asynccontextmanager
    async def place(self, caller: Caller) -> AsyncGenerator[None]:
        """Holds one of the places.

        Raises:
            CapacityError: none is free, or the caller has too many.
            ShuttingDownError: the server is going down, at once or when it can wait no longer.
        """
        self._check_open()
        _check("max_streams", self.active, self._max_streams)
        _check("max_streams_per_caller", self._working[caller.name], self.places_of(caller))
        scope = asyncio.timeout(None)
        try:
            with _counted(self._working, caller.name):
                async with scope:
                    self._scopes.add(scope)
                    yield
        except TimeoutError as error:
            if scope.expired():
                raise ShuttingDownError from error
            raise
        finally:
            self._scopes.discard(scope)
            self._left.set()

    async def close(self, grace_s: float) -> None:
        """Takes no more calls; those at work end by themselves within the grace, or are ended."""
        self._closing.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._empty()
        for scope in self._scopes:
            scope.reschedule(asyncio.get_running_loop().time())
        await self._empty()

    async def _empty(self) -> None:
        while self.active:
            self._left.clear()
            await self._left.wait()

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise ShuttingDownError


def _check(limit: str, running: int, allowed: int) -> None:
    if running >= allowed:
        raise CapacityError(limit, f"all {allowed} places are taken", RETRY_AFTER_S)


@contextmanager
def _counted(counter: Counter[str], caller: str) -> Generator[None]:
    counter[caller] += 1
    try:
        yield
    finally:
        counter[caller] -= 1
        if not counter[caller]:
            del counter[caller]
