"""Memory shared with a Triton on this host, pooled.

A region is leased for inputs of a request, or for what comes back. It returns to the pool when who
holds it has released it, or when the last array on it is gone, whoever has that. What Triton may
still read or write, since nobody waited for the answer, is never leased again.
"""

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from server.triton.wire import Place, Places

INLINE_BYTES = 64 * 2**10
"""Smaller tensors travel in the request."""
ALIGNMENT = 64

log = structlog.get_logger()


class NotSharedError(Exception):
    """Memory cannot be shared with Triton now; the request is to go by gRPC."""


@dataclass(eq=False, slots=True)
class Region:
    """Memory that this process writes and reads, and a Triton too."""

    name: str
    buffer: memoryview = field(repr=False)
    registered: bool = False
    """Whether Triton knows it."""
    abandoned: bool = False
    """Whether Triton may use it for a request that nobody waits for."""

    @property
    def nbytes(self) -> int:
        """Its size."""
        return len(self.buffer)

    def written(self, span: slice) -> None:
        """Has Triton see what was written there.

        Raises:
            NotSharedError: it will not.
        """

    def fetch(self, span: slice) -> None:
        """Has this process see what Triton wrote there; errors as for `written`."""

    def hide(self) -> None:
        """Takes it from where Triton could find it; who has it keeps it."""

    def free(self) -> None:
        """Gives back what Triton alone had of it, which must not know it any more."""


class Medium(Protocol):
    """A kind of memory, and how a Triton is told of it.

    Attributes:
        linger_s: for how long regions are kept that Triton may still use, though nobody waits.
    """

    linger_s: float

    def create(self, name: str, nbytes: int) -> Region:
        """Makes a region.

        Raises:
            OSError: there is no room.
        """
        ...

    async def register(self, stub: Any, region: Region, timeout_s: float) -> None:
        """Tells a Triton of a region.

        Raises:
            grpc.aio.AioRpcError: it does not take it.
        """
        ...

    async def unregister(self, stub: Any, name: str, timeout_s: float) -> None:
        """Has a Triton forget a region; errors as for `register`."""
        ...

    async def registered(self, stub: Any, timeout_s: float) -> Iterable[str]:
        """Returns the names of all regions that a Triton knows; errors as for `register`."""
        ...


@dataclass(eq=False, slots=True)
class Lease:
    """Places for some tensors in one region, or for none."""

    region: Region | None = None
    memory: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8), repr=False)
    """The region; arrays that are views of it keep it from the pool."""
    places: Places = field(default_factory=dict[str, Place])
    end: Callable[[], object] = field(default=lambda: None, repr=False)
    """Gives the region back, if it was not given back yet."""
    holders: int = 1

    def hold(self) -> None:
        """Says that one more is using it."""
        self.holders += 1

    def release(self) -> None:
        """Says that one is no longer using it, nor an array on it."""
        self.holders -= 1
        if not self.holders:
            self.end()

    def put(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Copies what has a place there.

        Raises:
            NotSharedError: Triton will not see it.
        """
        for name, place in self.places.items():
            array = arrays[name]
            target = self.memory[place.span].view(array.dtype).reshape(array.shape)
            np.copyto(target, array)
            if self.region:
                self.region.written(place.span)

    def abandon(self) -> None:
        """Says that Triton may still use it when nobody else does."""
        if self.region:
            self.region.abandoned = True

    def parts(self) -> dict[str, NDArray[np.uint8]]:
        """Returns the bytes that Triton wrote to each place, read-only.

        Raises:
            NotSharedError: they cannot be seen.
        """
        memory = self.memory[:]
        memory.flags.writeable = False
        for place in self.places.values():
            if self.region:
                self.region.fetch(place.span)
        return {name: memory[place.span] for name, place in self.places.items()}


class Pool:
    """Regions of one process for one Triton. Its methods may be called in any thread."""

    def __init__(
        self,
        medium: Medium,
        name: str,
        limit_bytes: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins empty.

        Args:
            medium: what regions are made of.
            name: what names of regions begin with; see `workdir.regions_name`.
            limit_bytes: of all regions together.
            now: a monotonic clock in seconds.
        """
        self._medium = medium
        self._now = now
        self._name = name
        self._limit_bytes = limit_bytes
        self._numbers = count()
        self._lock = threading.Lock()
        self._free: list[Region] = []
        """Longest unused first."""
        self._held: dict[str, Region] = {}
        """Every region, free or not."""
        self._returned: deque[Region] = deque()
        """Arrays may die in any thread at any time, so their end takes no lock."""
        self._lingering: deque[tuple[float, Region]] = deque()
        """When they may go."""
        self._full = False
        self.retired: deque[Region] = deque()
        """What is to be unregistered, and freed then."""

    @property
    def held_bytes(self) -> int:
        """What all regions take."""
        return sum(region.nbytes for region in self._held.values())

    @property
    def leased(self) -> int:
        """How many regions are in use."""
        with self._lock:
            self._take_back()
            return len(self._held) - len(self._free)

    def lease(self, sizes: Mapping[str, int]) -> Lease:
        """Returns places for tensors by their bytes: for the large ones, or for none if it is full.

        What has no place travels in the request.
        """
        spans: dict[str, slice] = {}
        total = 0
        for name, nbytes in sizes.items():
            if nbytes >= INLINE_BYTES:
                spans[name] = slice(total, total + nbytes)
                total += -(-nbytes // ALIGNMENT) * ALIGNMENT
        region = self._take(size_class(total)) if spans else None
        if region is None:
            return Lease()
        memory = np.frombuffer(region.buffer, np.uint8)
        end = weakref.finalize(memory, self._returned.append, region)
        end.atexit = False
        places = {name: Place(region.name, span) for name, span in spans.items()}
        return Lease(region, memory, places, end)

    def forget(self) -> None:
        """Takes it that Triton knows none of the regions."""
        with self._lock:
            for region in self._held.values():
                region.registered = False

    def close(self) -> None:
        """Retires every region; arrays on them stay what they are."""
        with self._lock:
            self._take_back()
            lingering = [region for _, region in self._lingering]
            for region in list(self._held.values()):
                # The end of this process frees what Triton may still use.
                if region not in lingering:
                    self._retire(region)
            self._free.clear()

    def _take(self, nbytes: int) -> Region | None:
        with self._lock:
            self._take_back()
            for region in self._free:
                if region.nbytes == nbytes:
                    self._free.remove(region)
                    return region
            try:
                return self._make(nbytes)
            except OSError as error:
                if not self._full:
                    problem = error.strerror or str(error)
                    log.warning("shared memory is full; gRPC carries the rest", problem=problem)
                self._full = True
                return None

    def _make(self, nbytes: int) -> Region:
        while self._free and self.held_bytes + nbytes > self._limit_bytes:
            self._retire(self._free.pop(0))
        if self.held_bytes + nbytes > self._limit_bytes:
            raise OSError(f"the limit is {self._limit_bytes} bytes")
        region = self._medium.create(f"{self._name}-{next(self._numbers)}", nbytes)
        self._held[region.name] = region
        return region

    def _take_back(self) -> None:
        while self._returned:
            region = self._returned.popleft()
            if region.name not in self._held:
                continue
            if region.abandoned:
                self._lingering.append((self._now() + self._medium.linger_s, region))
            else:
                self._free.append(region)
        while self._lingering and self._lingering[0][0] <= self._now():
            self._retire(self._lingering.popleft()[1])

    def _retire(self, region: Region) -> None:
        del self._held[region.name]
        region.hide()
        self.retired.append(region)


def size_class(nbytes: int) -> int:
    """Returns the size of a region that holds so many bytes: at most a quarter is left over."""
    step = max(INLINE_BYTES, 1 << max(nbytes - 1, 1).bit_length() - 3)
    return -(-nbytes // step) * step
