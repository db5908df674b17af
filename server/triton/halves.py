"""Networks that compute in 16 bits are sent, and send, 16-bit tensors.

The gateway computes in float32: what goes to such a network is rounded as it would be inside, and
what comes back is widened. Half the bytes travel.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from server.triton.contract import Arrays, Network, cast
from server.triton.engine import Engine, Placed, PlacingEngine, Priority, Results


class HalvingEngine(PlacingEngine):
    """An engine around one whose networks have the types of their precisions."""

    def __init__(self, engine: Engine, precisions: Mapping[str, str]) -> None:
        """Wraps an engine.

        Args:
            engine: what runs the networks as they are on the wire.
            precisions: of the networks, by name.
        """
        self._engine = engine
        self._precisions = precisions

    @asynccontextmanager
    async def place(self, network: Network, constants: Arrays) -> AsyncGenerator[Placed]:
        """Places constants; see `server.triton.engine.Engine`."""
        halved = network.on_the_wire(self._precisions.get(network.name, "fp32"))
        if halved == network:
            async with self._engine.place(network, constants) as placed:
                yield placed
            return
        narrow = await asyncio.to_thread(cast, halved.inputs, constants)
        async with self._engine.place(halved, narrow) as placed:
            yield _Halved(network, halved, placed)


class _Halved(Placed):
    def __init__(self, network: Network, halved: Network, placed: Placed) -> None:
        self._network = network
        self._halved = halved
        self._placed = placed

    async def run(
        self,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> Results:
        narrow = await asyncio.to_thread(cast, self._halved.inputs, inputs)
        results = await self._placed.run(narrow, outputs, priority=priority, timeout_s=timeout_s)
        return await asyncio.to_thread(cast, self._network.outputs, results)
