"""Shared memory, against a server that speaks Triton's protocol, and against a real Triton."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from pydantic import ValidationError
from structlog.testing import capture_logs

from server.settings import Settings
from server.triton.client import TritonEngine
from server.triton.contract import DENOISER_CACHED, TEXT_ENCODER, Network, Tensor
from server.triton.ports import LOOPBACK, Ports
from server.triton.regions import INLINE_BYTES, Pool, size_class
from server.triton.shared_memory import SharedMemory, shared_memory
from server.triton.workdir import SHARED_MEMORY, regions_name
from tests.support.fake_engine import FakeEngine
from tests.support.fake_triton import FakeTriton, fake_triton
from tests.support.toy_triton import Scene, add_model, doubling, find_installation

LIMIT_BYTES = 64 * 2**20
DOUBLING = Network(
    "doubling",
    (Tensor("x", "FP32", ("length",)),),
    (Tensor("y", "FP32", ("length",)),),
    max_batch_size=8,
)


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


@pytest_asyncio.fixture
async def triton() -> AsyncIterator[FakeTriton]:
    async with fake_triton() as running:
        yield running


@pytest_asyncio.fixture
async def gateway(triton: FakeTriton) -> AsyncIterator[Gateway]:
    gateway = Gateway(triton.address)
    yield gateway
    await gateway.close()


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


async def test_results_are_those_of_grpc_and_only_small_tensors_are_sent(
    triton: FakeTriton, gateway: Gateway
) -> None:
    for seed in range(3):
        np.testing.assert_array_equal(await gateway.velocity(seed), await expected(seed))
    for request in triton.requests:
        # How many rows an answer has, the residual tells.
        assert set(places(request)) == {"latents", "condition", "residual", "velocity"}
        (timestep,) = request.raw_input_contents
        assert len(timestep) == 4


async def test_how_large_an_answer_is_one_like_it_tells(
    triton: FakeTriton, gateway: Gateway
) -> None:
    for length in (4096, 4096, 2048):
        tokens = np.ones((1, length), np.int64)
        await gateway.engine.run(TEXT_ENCODER, {"token_ids": tokens, "mask": tokens})
    assert [list(places(request)) for request in triton.requests] == [[], ["text"], []]


async def test_results_are_views_and_return_their_memory_when_the_last_one_dies(
    gateway: Gateway,
) -> None:
    await gateway.velocity()
    await until(lambda: gateway.pool.leased == 0)
    result = await gateway.velocity()
    part = result[0, 0, :2]
    assert not result.flags.owndata
    assert not result.flags.writeable
    kept = part.copy()
    del result
    await until(lambda: gateway.pool.leased == 1)
    await gateway.velocity(1)
    np.testing.assert_array_equal(part, kept)
    del part
    await until(lambda: gateway.pool.leased == 0)


async def test_constants_are_placed_once(triton: FakeTriton, gateway: Gateway) -> None:
    inputs = denoising()
    constants = {name: inputs[name] for name in ("condition", "residual")}
    async with gateway.engine.place(DENOISER_CACHED, constants) as placed:
        for seed in range(3):
            step = {name: denoising(seed)[name] for name in ("latents", "timestep")}
            result = await placed.run(step)
            alike = await FakeEngine().run(DENOISER_CACHED, constants | step)
            np.testing.assert_array_equal(result["velocity"], alike["velocity"])
            del result
    where = [places(request) for request in triton.requests]
    assert len({place["condition"] for place in where}) == 1
    assert all(place["condition"] == place["residual"] for place in where)
    del placed
    await until(lambda: gateway.pool.leased == 0)


async def test_regions_are_used_again(triton: FakeTriton, gateway: Gateway) -> None:
    for seed in range(5):
        await gateway.velocity(seed)
    assert len(triton.regions) == 2


async def test_what_finds_no_room_is_sent_and_one_line_says_so(triton: FakeTriton) -> None:
    gateway = Gateway(triton.address, limit_bytes=INLINE_BYTES)
    with capture_logs() as lines:
        for seed in range(3):
            np.testing.assert_array_equal(await gateway.velocity(seed), await expected(seed))
    await gateway.close()
    assert [line["event"] for line in lines] == ["shared memory is full; gRPC carries the rest"]
    assert not any(places(request) for request in triton.requests)


@pytest.mark.parametrize("end", ["posix_fallocate", "statvfs"])
async def test_a_full_file_system_is_no_failure(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def half_taken(_: Path) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=512, f_blocks=1024, f_frsize=4096)

    ends = {"posix_fallocate": full, "statvfs": half_taken}
    monkeypatch.setattr(os, end, ends[end])
    with capture_logs() as lines:
        for seed in range(3):
            np.testing.assert_array_equal(await gateway.velocity(seed), await expected(seed))
    assert [line["problem"] for line in lines] == ["No space left on device"]
    assert gateway.pool.held_bytes == 0


def test_regions_of_other_sizes_make_room() -> None:
    with regions_name() as name:
        size = size_class(4 * INLINE_BYTES)
        pool = Pool(name, size)
        lease = pool.lease({"x": size})
        assert lease.region
        first = lease.region.name
        assert not pool.lease({"y": INLINE_BYTES}).places
        del lease
        assert pool.lease({"y": INLINE_BYTES}).places
        assert list(pool.retired) == [first]
        assert not (SHARED_MEMORY / first).exists()


async def test_a_triton_that_restarted_loses_nothing(triton: FakeTriton, gateway: Gateway) -> None:
    inputs = denoising()
    constants = {"residual": inputs.pop("residual")}
    async with gateway.engine.place(DENOISER_CACHED, constants) as placed:
        await placed.run(inputs)
        triton.regions.clear()
        for _ in range(3):
            result = await placed.run(inputs)
            np.testing.assert_array_equal(result["velocity"], await expected())
    assert "residual" in places(triton.requests[-1])
    assert len(triton.requests) == 5


async def test_a_triton_that_refuses_is_asked_once(triton: FakeTriton) -> None:
    triton.shares = False
    for use, level in (("auto", "info"), ("system", "warning")):
        gateway = Gateway(triton.address, use=use)
        with capture_logs() as lines:
            for seed in range(3):
                np.testing.assert_array_equal(await gateway.velocity(seed), await expected(seed))
        await gateway.close()
        assert [(line["event"], line["log_level"]) for line in lines] == [
            ("no memory is shared", level)
        ]


async def test_an_answer_larger_than_its_place_comes_by_grpc(
    triton: FakeTriton, gateway: Gateway
) -> None:
    small = np.empty(INLINE_BYTES, np.uint8)
    gateway.shared.learn(DENOISER_CACHED, denoising(), {"velocity": small})
    np.testing.assert_array_equal(await gateway.velocity(), await expected())
    refused, sent = triton.requests
    assert "velocity" in places(refused)
    assert not places(sent)


async def test_memory_of_a_request_that_nobody_waits_for_is_never_used_again(
    triton: FakeTriton, gateway: Gateway
) -> None:
    assert isinstance(triton.engine, FakeEngine)
    await gateway.velocity()
    triton.engine.delay_s = 60
    waiting = asyncio.create_task(gateway.velocity())
    await until(lambda: len(triton.requests) == 2)
    waiting.cancel()
    await asyncio.wait([waiting])
    triton.engine.delay_s = 0
    abandoned = set(places(triton.requests[-1]).values())
    np.testing.assert_array_equal(await gateway.velocity(1), await expected(1))
    assert abandoned.isdisjoint(places(triton.requests[-1]).values())
    assert abandoned.isdisjoint(triton.regions)
    assert not any((SHARED_MEMORY / name).exists() for name in abandoned)


async def test_two_gateways_do_not_disturb_each_other(triton: FakeTriton, gateway: Gateway) -> None:
    other = Gateway(triton.address)
    await asyncio.gather(gateway.velocity(), other.velocity())
    mine = {name for name in triton.regions if (SHARED_MEMORY / name).exists()}
    await other.close()
    assert set(triton.regions) < mine
    assert triton.regions
    np.testing.assert_array_equal(await gateway.velocity(1), await expected(1))
    assert places(triton.requests[-1])


CLAIM = """
import sys, time
from server.triton.regions import create
from server.triton.workdir import regions_name
with regions_name() as name:
    create(f"{name}-0", 2**16)
    print(name, flush=True)
    time.sleep(600)
"""


async def test_what_a_killed_gateway_left_is_removed_and_nobody_elses(
    triton: FakeTriton, gateway: Gateway
) -> None:
    await gateway.velocity()
    mine = set(triton.regions)
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLAIM, stdout=asyncio.subprocess.PIPE
    )
    assert killed.stdout
    left = f"{(await killed.stdout.readline()).decode().strip()}-0"
    triton.regions[left] = np.zeros(1, np.uint8)
    next_one = Gateway(triton.address)
    assert (SHARED_MEMORY / left).exists()
    await next_one.velocity()
    assert left in triton.regions
    await next_one.close()
    killed.send_signal(signal.SIGKILL)
    await killed.wait()
    next_one = Gateway(triton.address)
    assert not (SHARED_MEMORY / left).exists()
    await next_one.velocity()
    assert left not in triton.regions
    await next_one.close()
    assert mine <= set(triton.regions)
    assert all((SHARED_MEMORY / name).exists() for name in mine)


async def test_nothing_stays_behind(triton: FakeTriton) -> None:
    gateway = Gateway(triton.address)
    await gateway.velocity()
    result = await gateway.velocity()
    names = set(triton.regions)
    await gateway.close()
    assert names
    assert not triton.regions
    assert not any((SHARED_MEMORY / name).exists() for name in names)
    np.testing.assert_array_equal(result, await expected())


@pytest.mark.parametrize(
    ("use", "url"), [("auto", "10.0.0.5:8001"), ("auto", "triton:8001"), ("off", "127.0.0.1:8001")]
)
def test_memory_is_not_shared_with_what_is_elsewhere_or_must_not(use: str, url: str) -> None:
    with capture_logs() as lines, shared_memory(use, url, LIMIT_BYTES) as shared:
        assert shared is None
    assert not lines


def test_memory_on_the_gpu_is_refused_with_a_remedy() -> None:
    with pytest.raises(ValidationError, match="choose system"):
        Settings.model_validate({"triton_shared_memory": "cuda"})


@pytest.mark.slow
async def test_a_real_triton_shares_memory_and_may_be_killed(tmp_path: Path) -> None:
    add_model(tmp_path / "models", "doubling", doubling(), max_batch_size=8)
    scene = Scene(tmp_path / "models", tmp_path / "run", tmp_path / "triton.log")
    x = np.random.default_rng(0).standard_normal((2, 2**22)).astype(np.float32)
    installation = find_installation()
    async with scene.start(installation) as triton:
        gateway = Gateway(triton.grpc_url, limit_bytes=2**28)
        plain = TritonEngine(triton.grpc_url, timeout_s=20)
        alike = (await plain.run(DOUBLING, {"x": x}))["y"]
        await plain.close()
        for _ in range(3):
            shared = (await gateway.engine.run(DOUBLING, {"x": x}))["y"]
            np.testing.assert_array_equal(shared, alike)
        await until(lambda: gateway.pool.leased == 1)
        # Triton may still write when nobody waits any more.
        for _ in range(5):
            running = asyncio.create_task(gateway.engine.run(DOUBLING, {"x": x}))
            await asyncio.wait([running], timeout=0.05)
            running.cancel()
            await asyncio.wait([running])
            del running
        np.testing.assert_array_equal((await gateway.engine.run(DOUBLING, {"x": x}))["y"], alike)
        np.testing.assert_array_equal(shared, alike)
        host, _, grpc_port = triton.grpc_url.rpartition(":")
        assert host == LOOPBACK
        triton.kill()
        await triton.wait()
    async with scene.start(installation, ports=Ports(grpc=int(grpc_port))) as triton:
        await gateway.engine.live(20)
        for _ in range(3):
            again = (await gateway.engine.run(DOUBLING, {"x": x}))["y"]
            np.testing.assert_array_equal(again, alike)
        del again, shared
        await until(lambda: gateway.pool.leased == 0)
        await gateway.close()
