"""What one Triton knows of the regions that it shares with this process.

Names of regions are random, so a Triton that takes one sees the very memory: one on another host,
or in a container with shared memory of its own, finds none and refuses. Then, and where Triton
lacks ``--allow-client-shm``, gRPC carries everything.
"""

import asyncio
import logging
import math
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import grpc
import numpy as np
import structlog

from server.triton.contract import NUMPY_DTYPES, Arrays, Network, Tensor
from server.triton.lengths import lengths
from server.triton.ports import on_loopback
from server.triton.regions import Lease, Medium, NotSharedError, Pool, Region
from server.triton.system_memory import SystemMemory
from server.triton.workdir import ownerless, regions_name

log = structlog.get_logger()

TIMEOUT_S = 5.0
NOT_NOW = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
KNOWN_SHAPES = 256


class SharedMemory:
    """The regions of a pool, at one Triton."""

    def __init__(self, medium: Medium, pool: Pool, url: str, *, level: int = logging.INFO) -> None:
        """Begins with nothing shared.

        Args:
            medium: what regions are made of.
            pool: of them, this Triton's alone.
            url: names the Triton in the log.
            level: of the line in the log if Triton refuses.
        """
        self.pool = pool
        self._medium = medium
        self.usable = True
        """Until Triton refuses."""
        self._url = url
        self._level = level
        self._begun = False
        self._sizes: dict[Any, dict[str, int]] = {}

    def room(self, network: Network, inputs: Arrays, wanted: Iterable[Tensor]) -> Lease:
        """Returns places for the outputs whose size the inputs tell, or an answer like it told."""
        sizes = _told(network, inputs) | self._sizes.get(_shapes(network, inputs), {})
        return self.pool.lease({t.name: sizes[t.name] for t in wanted if t.name in sizes})

    def learn(self, network: Network, inputs: Arrays, outputs: Arrays) -> None:
        """Remembers how large outputs are."""
        while len(self._sizes) >= KNOWN_SHAPES:
            del self._sizes[next(iter(self._sizes))]
        known = self._sizes.setdefault(_shapes(network, inputs), {})
        known |= {name: array.nbytes for name, array in outputs.items()}

    async def register(self, stub: Any, leases: Iterable[Lease]) -> None:
        """Sees to it that Triton knows the regions of some leases, and not those that are gone.

        Raises:
            NotSharedError: it does not take them, or cannot be asked now.
        """
        for lease in leases:
            if lease.region and not lease.region.registered:
                await self._register(stub, lease.region)
        await self._unregister_retired(stub)

    def refused(self) -> None:
        """Says that Triton did not find a region, or found it too small: it may have restarted."""
        log.info("memory is shared anew", url=self._url)
        self.pool.forget()
        self._sizes.clear()

    def give_up(self, problem: str) -> None:
        """Says that no memory can be shared with this Triton."""
        if self.usable:
            self.usable = False
            log.log(self._level, "no memory is shared", url=self._url, problem=problem)

    async def close(self, stub: Any) -> None:
        """Takes from Triton what it was given."""
        self.pool.close()
        await self._unregister_retired(stub)

    async def _register(self, stub: Any, region: Region) -> None:
        try:
            await self._medium.register(stub, region, TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            # Two requests that share constants may both have found the region unknown.
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                if error.code() not in NOT_NOW:
                    self.give_up(error.details() or error.code().name)
                raise NotSharedError from error
        region.registered = True
        if not self._begun:
            self._begun = True
            log.info("memory is shared", url=self._url)
            await self._unregister_ownerless(stub)

    async def _unregister_ownerless(self, stub: Any) -> None:
        """Takes from Triton what killed gateways gave it, for it keeps the memory otherwise."""
        with suppress(grpc.aio.AioRpcError):
            for name in filter(ownerless, await self._medium.registered(stub, TIMEOUT_S)):
                await self._unregister(stub, name)

    async def _unregister_retired(self, stub: Any) -> None:
        while self.pool.retired:
            region = self.pool.retired.popleft()
            await self._unregister(stub, region.name)
            # It may wait for the GPU.
            await asyncio.to_thread(region.free)

    async def _unregister(self, stub: Any, name: str) -> None:
        # Without a name all regions would go, whosever they are.
        assert name
        with suppress(grpc.aio.AioRpcError):
            await self._medium.unregister(stub, name, TIMEOUT_S)


@contextmanager
def shared_memory(use: str, url: str, limit_bytes: int) -> Generator[SharedMemory | None]:
    """Gives what may be shared with a Triton, None if nothing may.

    Args:
        use: ``auto`` shares the host's memory with a Triton on the loopback interface, ``system``
            tries it with any and ``cuda`` a GPU's, and they warn if that fails, ``off`` does not.
        url: of the Triton.
        limit_bytes: of what is shared with it.
    """
    with ExitStack() as stack:
        shared: SharedMemory | None = None
        if use in ("system", "cuda") or (use == "auto" and on_loopback(url)):
            level = logging.INFO if use == "auto" else logging.WARNING
            try:
                medium = _cuda() if use == "cuda" else SystemMemory()
                pool = Pool(medium, stack.enter_context(regions_name()), limit_bytes)
                shared = SharedMemory(medium, pool, url, level=level)
            except OSError as error:
                log.log(level, "no memory is shared", url=url, problem=str(error))
        yield shared


def _cuda() -> Medium:
    # CUDA comes with an extra, and loading it takes a moment.
    from server.triton.cuda_memory import CudaMemory

    return CudaMemory()


def _told(network: Network, inputs: Arrays) -> dict[str, int]:
    """Returns the bytes of outputs whose dimensions follow from the inputs."""
    known = lengths(network, inputs)
    batch = len(next(iter(inputs.values())))
    return {
        tensor.name: batch
        * np.dtype(NUMPY_DTYPES[tensor.dtype]).itemsize
        * math.prod(dim if isinstance(dim, int) else known[dim] for dim in tensor.dims)
        for tensor in network.outputs
        if all(isinstance(dim, int) or dim in known for dim in tensor.dims)
    }


def _shapes(network: Network, inputs: Arrays) -> Any:
    return network.name, *((t.name, inputs[t.name].shape) for t in network.inputs)
