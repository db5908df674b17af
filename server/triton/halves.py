"""Networks that compute in 16 bits are sent, and send, 16-bit tensors.

The gateway computes in float32: what goes to such a network is rounded as it would be inside, and
what comes back is widened. Half the bytes travel.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.parts import in_parts
from server.triton.contract import NUMPY_DTYPES, Arrays, Network, Tensor
from server.triton.engine import Engine, Placed, PlacingEngine, Priority, Results
from server.triton.regions import INLINE_BYTES


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
        narrow = await converted(halved.inputs, constants)
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
        narrow = await converted(self._halved.inputs, inputs)
        results = await self._placed.run(narrow, outputs, priority=priority, timeout_s=timeout_s)
        return await converted(self._network.outputs, results)


async def converted(tensors: Iterable[Tensor], arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Returns arrays in the types of the table; those that have them are not copied.

    NumPy converts between 16 and 32 bits a number at a time, so threads share what is large.
    """
    types = {tensor.name: NUMPY_DTYPES[tensor.dtype] for tensor in tensors}
    return {name: await _as(types[name], array) for name, array in arrays.items()}


async def _as(dtype: type[np.generic], array: NDArray[Any]) -> NDArray[Any]:
    # What is small takes less than the way to a thread.
    if array.dtype == dtype or array.nbytes < INLINE_BYTES:
        return array.astype(dtype, copy=False)
    result = np.empty(array.shape, dtype)
    axis = int(np.argmax(array.shape))
    source, target = np.moveaxis(array, axis, 0), np.moveaxis(result, axis, 0)

    def convert(part: slice) -> None:
        target[part] = source[part]

    await in_parts(convert, len(source), max(array.nbytes, result.nbytes))
    return result
