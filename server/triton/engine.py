"""What runs the networks: the seam between the gateway and Triton.

`server.triton.client` implements it for one Triton. Around it lie layers that implement it too:

    rows -> yielding -> usage -> failover -> scheduling -> endpoint -> metering -> halves -> client

The first three are a stream's own.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import Enum
from typing import Any, Protocol

from numpy.typing import NDArray

from server.triton.contract import Arrays, Network

Results = dict[str, NDArray[Any]]


class Priority(Enum):
    """Whose executions go before whose."""

    FIRST_FRAME = "first frame"
    """Somebody waits who has not seen a frame yet."""
    NORMAL = "normal"


class Placed(Protocol):
    """A network with some of its inputs already where it runs."""

    async def run(
        self,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> Results:
        """Runs the network once with the other inputs; see `Engine.run`."""
        ...


class Engine(Protocol):
    """Runs networks."""

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> Results:
        """Runs a network once and returns the outputs asked for, or all.

        Args:
            network: which.
            inputs: by the names of `server.triton.contract`, batch dimension first.
            outputs: names; what is not asked for is not sent.
            priority: whether it goes before what others have waiting.
            timeout_s: how long one attempt may take; None leaves it to the engine.

        Raises:
            EngineUnavailableError: the engine's fault; another one may be able to.
            ExecutionError: the execution itself failed, as it would elsewhere.
            ContractViolationError: an array is not as the table says.
        """
        ...

    def place(self, network: Network, constants: Arrays) -> AbstractAsyncContextManager[Placed]:
        """Places inputs that stay the same over many executions, for as long as the context lasts.

        An engine without a place for them hands them over at every execution.
        """
        return _handed_over(self, network, constants)


class PlacingEngine(Engine, ABC):
    """An engine that places whatever it runs, so that there is one way through it."""

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> Results:
        """Runs a network once; see `Engine.run`."""
        async with self.place(network, {}) as placed:
            return await placed.run(inputs, outputs, priority=priority, timeout_s=timeout_s)

    @abstractmethod
    def place(self, network: Network, constants: Arrays) -> AbstractAsyncContextManager[Placed]:
        """Places constants; see `Engine.place`."""


@asynccontextmanager
async def _handed_over(
    engine: Engine, network: Network, constants: Arrays
) -> AsyncGenerator[Placed]:
    yield _HandedOver(engine, network, constants)


class _HandedOver(Placed):
    def __init__(self, engine: Engine, network: Network, constants: Arrays) -> None:
        self._engine = engine
        self._network = network
        self._constants = constants

    async def run(
        self,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> Results:
        return await self._engine.run(
            self._network,
            {**self._constants, **inputs},
            outputs,
            priority=priority,
            timeout_s=timeout_s,
        )
