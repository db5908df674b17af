"""Shared memory, against a server that speaks Triton's protocol, and against a real Triton."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from server.triton.client import TritonEngine
from server.triton.contract import DENOISER_CACHED, TEXT_ENCODER
from server.triton.ports import LOOPBACK, Ports
from server.triton.regions import INLINE_BYTES, Pool, size_class
from server.triton.shared_memory import shared_memory
from server.triton.system_memory import SystemMemory
from server.triton.workdir import SHARED_MEMORY, regions_name
from tests.support.fake_cuda import install_cuda
from tests.support.fake_engine import FakeEngine
from tests.support.fake_triton import FakeTriton, fake_triton
from tests.support.sharing import (
    LIMIT_BYTES,
    Gateway,
    abandoned,
    denoising,
    expected,
    places,
    until,
)
from tests.support.toy_triton import DOUBLING, Scene, add_model, doubling, find_installation

OF_THE_HOST = pytest.mark.parametrize("use", ["auto"])


@pytest.fixture(params=["auto", "cuda"])
def use(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest_asyncio.fixture
async def triton(use: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeTriton]:
    async with fake_triton() as running:
        if use == "cuda":
            running.cuda = install_cuda(monkeypatch)
        yield running


@pytest_asyncio.fixture
async def gateway(use: str, triton: FakeTriton) -> AsyncIterator[Gateway]:
    gateway = Gateway(triton.address, use=use)
    yield gateway
    await gateway.close()


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


@OF_THE_HOST
async def test_what_finds_no_room_is_sent_and_one_line_says_so(triton: FakeTriton) -> None:
    gateway = Gateway(triton.address, limit_bytes=INLINE_BYTES)
    with capture_logs() as lines:
        for seed in range(3):
            np.testing.assert_array_equal(await gateway.velocity(seed), await expected(seed))
    await gateway.close()
    assert [line["event"] for line in lines] == ["shared memory is full; gRPC carries the rest"]
    assert not any(places(request) for request in triton.requests)


@OF_THE_HOST
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
        pool = Pool(SystemMemory(), name, size)
        lease = pool.lease({"x": size})
        assert lease.region
        first = lease.region.name
        assert not pool.lease({"y": INLINE_BYTES}).places
        del lease
        assert pool.lease({"y": INLINE_BYTES}).places
        assert [region.name for region in pool.retired] == [first]
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


@OF_THE_HOST
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


@OF_THE_HOST
async def test_memory_of_a_request_that_nobody_waits_for_is_never_used_again(
    triton: FakeTriton, gateway: Gateway
) -> None:
    left = await abandoned(triton, gateway)
    np.testing.assert_array_equal(await gateway.velocity(1), await expected(1))
    assert left.isdisjoint(places(triton.requests[-1]).values())
    assert left.isdisjoint(triton.regions)
    assert not any((SHARED_MEMORY / name).exists() for name in left)


@OF_THE_HOST
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
from server.triton.system_memory import SystemMemory
from server.triton.workdir import regions_name
with regions_name() as name:
    SystemMemory().create(f"{name}-0", 2**16)
    print(name, flush=True)
    time.sleep(600)
"""


@OF_THE_HOST
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


async def test_nothing_stays_behind(use: str, triton: FakeTriton) -> None:
    gateway = Gateway(triton.address, use=use)
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
