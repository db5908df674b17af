"""A gateway's engine that shares memory with a Triton, and what is asked of it."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from server.triton.client import TritonEngine
from server.triton.contract import DENOISER_CACHED
from server.triton.regions import Pool
from server.triton.shared_memory import SharedMemory, shared_memory
from tests.support.fake_engine import FakeEngine
from tests.support.fake_triton import FakeTriton

LIMIT_BYTES = 64 * 2**20


def denoising(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = {
        "latents": (1, 16, 4, 32, 32),
        "condition": (1, 20, 4, 32, 32),
        "timestep": (1, 1),
        "residual": (1, 1, 1024, 64),
    }
    return {
        name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }


class Gateway:
    """An engine that shares memory with a Triton."""

    def __init__(self, url: str, limit_bytes: int = LIMIT_BYTES, use: str = "auto") -> None:
        self._context: AbstractContextManager[SharedMemory | None]
        self._context = shared_memory(use, url, limit_bytes)
        shared = self._context.__enter__()
        assert shared
        self.shared = shared
        self.engine = TritonEngine(url, timeout_s=20, shared_memory=shared)

    @property
    def pool(self) -> Pool:
        return self.shared.pool

    async def velocity(self, seed: int = 0) -> np.ndarray:
        return (await self.engine.run(DENOISER_CACHED, denoising(seed)))["velocity"]

    async def close(self) -> None:
        await self.engine.close()
        self._context.__exit__(None, None, None)


async def expected(seed: int = 0) -> np.ndarray:
    return (await FakeEngine().run(DENOISER_CACHED, denoising(seed)))["velocity"]


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread does: one that has given its result may hold it a moment."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not come about")


def places(request: Any) -> dict[str, str]:
    """Which tensors of a request lie in which regions."""
    return {
        tensor.name: tensor.parameters["shared_memory_region"].string_param
        for tensor in (*request.inputs, *request.outputs)
        if "shared_memory_region" in tensor.parameters
    }


async def abandoned(triton: FakeTriton, gateway: Gateway) -> set[str]:
    """Has a request cancelled that Triton is at; returns the regions it was given for it."""
    assert isinstance(triton.engine, FakeEngine)
    await gateway.velocity()
    triton.engine.delay_s = 60
    waiting = asyncio.create_task(gateway.velocity())
    await until(lambda: len(triton.requests) == 2)
    waiting.cancel()
    await asyncio.wait([waiting])
    triton.engine.delay_s = 0
    return set(places(triton.requests[-1]).values())
