"""What layers around an engine share: something happens around each execution."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from server.triton.contract import Arrays, Network
from server.triton.engine import Engine, Placed, Priority, Results


class Layer(Engine, ABC):
    """An engine around another one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @abstractmethod
    def around(self, network: Network, inputs: Arrays) -> AbstractAsyncContextManager[None]:
        """Returns what an execution happens in; ``inputs`` are those that are not placed."""

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> Results:
        """Runs a network once; see `server.triton.engine.Engine`."""
        async with self.around(network, inputs):
            return await self._engine.run(
                network, inputs, outputs, priority=priority, timeout_s=timeout_s
            )

    @asynccontextmanager
    async def place(self, network: Network, constants: Arrays) -> AsyncGenerator[Placed]:
        """Places constants; see `server.triton.engine.Engine`."""
        async with self._engine.place(network, constants) as placed:
            yield _Placed(self, network, placed)


class _Placed(Placed):
    def __init__(self, layer: Layer, network: Network, placed: Placed) -> None:
        self._layer = layer
        self._network = network
        self._placed = placed

    async def run(
        self,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> Results:
        async with self._layer.around(self._network, inputs):
            return await self._placed.run(inputs, outputs, priority=priority, timeout_s=timeout_s)
