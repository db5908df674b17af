"""A cache of arrays with a limit in bytes: the least recently used goes first."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable

import numpy as np
from numpy.typing import NDArray


class ByteCache:
    """Remembers arrays by key, up to a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._arrays: OrderedDict[Hashable, NDArray[np.float32]] = OrderedDict()

    async def get(
        self, key: Hashable, make: Callable[[], Awaitable[NDArray[np.float32]]]
    ) -> NDArray[np.float32]:
        """Returns the array of a key, made now if need be. It is shared, so it is read-only."""
        if key in self._arrays:
            self._arrays.move_to_end(key)
            return self._arrays[key]
        array = np.asarray(await make()).view()
        array.flags.writeable = False
        self._add(key, array)
        return array

    def _add(self, key: Hashable, array: NDArray[np.float32]) -> None:
        if key in self._arrays or array.nbytes > self._max_bytes:
            return
        self._arrays[key] = array
        self._bytes += array.nbytes
        while self._bytes > self._max_bytes:
            _, oldest = self._arrays.popitem(last=False)
            self._bytes -= oldest.nbytes
