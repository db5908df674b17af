"""A cache of arrays with a limit in bytes: the least recently used goes first.

What a stream uses it keeps for as long as it runs, so others' portraits and prompts, however many,
never make it compute its own again. The limit is on what is remembered beyond that.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from copy import copy

import numpy as np

from server.arrays import FloatArray
from server.recorder import SILENT, Recorder

Key = tuple[str, *tuple[Hashable, ...]]
"""Begins with what kind of array it is."""
Make = Callable[[], Awaitable[FloatArray]]


class ByteCache:
    """Remembers arrays by key, up to a number of bytes."""

    def __init__(self, max_bytes: int, recorder: Recorder = SILENT) -> None:
        self._max_bytes = max_bytes
        self._recorder = recorder
        self._bytes = 0
        self._arrays: OrderedDict[Key, FloatArray] = OrderedDict()
        self._making: dict[Key, asyncio.Future[FloatArray]] = {}

    async def get(self, key: Key, make: Make) -> FloatArray:
        """Returns the array of a key, made now if need be. It is shared, so it is read-only.

        Whoever asks while it is made waits for it, and shares an error, too. An error is not
        remembered. If the one who makes it is cancelled, one who waits makes it.
        """
        self._recorder.cache_asked(key[0], hit=key in self._arrays or key in self._making)
        while key not in self._arrays:
            making = self._making.get(key)
            if making is None:
                return await self._make(key, make)
            await asyncio.wait([making])
            if making.cancelled():
                continue
            if error := making.exception():
                # Each its own: a call that has ended clears the frames that its error came by.
                raise copy(error)
            return making.result()
        self._arrays.move_to_end(key)
        return self._arrays[key]

    async def _make(self, key: Key, make: Make) -> FloatArray:
        making = self._making[key] = asyncio.get_running_loop().create_future()
        try:
            array = np.asarray(await make()).view()
        except Exception as error:
            making.set_exception(error)
            # Nobody need wait for it.
            making.exception()
            raise
        else:
            array.flags.writeable = False
            self._add(key, array)
            making.set_result(array)
            return array
        finally:
            making.cancel()
            del self._making[key]

    def _add(self, key: Key, array: FloatArray) -> None:
        if array.nbytes > self._max_bytes:
            return
        self._arrays[key] = array
        self._bytes += array.nbytes
        while self._bytes > self._max_bytes:
            _, oldest = self._arrays.popitem(last=False)
            self._bytes -= oldest.nbytes


class Hold:
    """What one stream uses of a cache: the last array for each use, kept until the stream ends."""

    def __init__(self, cache: ByteCache) -> None:
        self._cache = cache
        self._held: dict[str, tuple[Key, FloatArray]] = {}

    def copy(self) -> "Hold":
        """Returns another stream's, which begins with the same arrays."""
        other = Hold(self._cache)
        other._held = self._held.copy()
        return other

    async def get(self, use: str, key: Key, make: Make) -> FloatArray:
        """Returns the array of a key; see `ByteCache.get`. It replaces the one held for the use."""
        held = self._held.get(use)
        if held is None or held[0] != key:
            held = self._held[use] = key, await self._cache.get(key, make)
        return held[1]
