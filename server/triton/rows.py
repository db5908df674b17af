"""Rows of an execution run one after the other, from the first on that memory has no room for.

Rows share all but a few small inputs, so what comes out is the same, but for the order in which a
network may add up sums. It takes longer, since nothing that they share is computed once.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np

from server.errors import OutOfMemoryError
from server.triton.contract import Arrays, Network
from server.triton.engine import Engine, Placed, PlacingEngine, Priority, Results

ROWS = "rows"
"""What the contract calls the dimension, which comes after the batch's."""
AXIS = 1


class RowsEngine(PlacingEngine):
    """An engine around another one, for one stream: once rows are apart, they stay so."""

    def __init__(self, engine: Engine, on_parted: Callable[[str], None]) -> None:
        """Begins with rows together.

        Args:
            engine: runs the networks.
            on_parted: told the network that memory had no room for, once.
        """
        self._engine = engine
        self._on_parted = on_parted
        self.are_apart = False

    @asynccontextmanager
    async def place(self, network: Network, constants: Arrays) -> AsyncGenerator[Placed]:
        """Places constants; see `server.triton.engine.Engine`."""
        async with self._engine.place(network, constants) as placed:
            yield _Rows(self, network, placed)

    def part(self, network: Network) -> None:
        """Has rows run one after the other from now on."""
        if not self.are_apart:
            self.are_apart = True
            self._on_parted(network.name)


class _Rows(Placed):
    def __init__(self, engine: RowsEngine, network: Network, placed: Placed) -> None:
        self._engine = engine
        self._network = network
        self._of_rows = [tensor.name for tensor in network.inputs if tensor.dims[:1] == (ROWS,)]
        self._placed = placed

    async def run(
        self,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> Results:
        async def run(inputs: Arrays) -> Results:
            return await self._placed.run(inputs, outputs, priority=priority, timeout_s=timeout_s)

        by_row = {name: inputs[name] for name in self._of_rows}
        rows = max((array.shape[AXIS] for array in by_row.values()), default=1)
        if rows == 1:
            return await run(inputs)
        if not self._engine.are_apart:
            try:
                return await run(inputs)
            except OutOfMemoryError:
                self._engine.part(self._network)
        alone = [
            await run({**inputs, **{name: of[:, row : row + 1] for name, of in by_row.items()}})
            for row in range(rows)
        ]
        return await asyncio.to_thread(_joined, alone)


def _joined(rows: Sequence[Results]) -> Results:
    return {name: np.concatenate([row[name] for row in rows], axis=AXIS) for name in rows[0]}
