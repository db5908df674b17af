"""Memory of a GPU that is only imagined.

`test_shared_memory` has what holds for memory of any kind.
"""

import gc
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from server.triton.contract import DENOISER_CACHED
from server.triton.cuda_memory import LINGER_S, CudaMemory
from server.triton.regions import INLINE_BYTES, Pool
from server.triton.shared_memory import shared_memory
from tests.support.fake_cuda import TO_GPU, TO_HOST, FakeCuda, install_cuda
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

ALONE = "10.0.0.5:8001"


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return install_cuda(monkeypatch)


@pytest_asyncio.fixture
async def triton(cuda: FakeCuda) -> AsyncIterator[FakeTriton]:
    async with fake_triton() as running:
        running.cuda = cuda
        yield running


@pytest_asyncio.fixture
async def gateway(triton: FakeTriton) -> AsyncIterator[Gateway]:
    gateway = Gateway(triton.address, use="cuda")
    yield gateway
    await gateway.close()


def test_without_a_gpu_nothing_is_shared_and_one_line_says_why(cuda: FakeCuda) -> None:
    cuda.failing.add("cudaGetDeviceCount")
    with capture_logs() as lines, shared_memory("cuda", ALONE, LIMIT_BYTES) as shared:
        assert shared is None
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("no memory is shared", "warning")
    assert line["problem"].startswith("cudaGetDeviceCount: ")


def test_without_the_package_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with capture_logs() as lines, shared_memory("cuda", ALONE, LIMIT_BYTES) as shared:
        assert shared is None
    assert [line["problem"] for line in lines] == [
        "cuda-bindings is missing: pip install '.[cuda]'"
    ]


async def test_only_what_was_written_is_copied(cuda: FakeCuda, gateway: Gateway) -> None:
    inputs = denoising()
    constants = {name: inputs[name] for name in ("condition", "residual")}
    async with gateway.engine.place(DENOISER_CACHED, constants) as placed:
        assert cuda.copied == {TO_GPU: sum(a.nbytes for a in constants.values()), TO_HOST: 0}
        for _ in range(3):
            cuda.copied = dict.fromkeys(cuda.copied, 0)
            step = {name: inputs[name] for name in ("latents", "timestep")}
            result = await placed.run(step)
            sent, came = step["latents"].nbytes, result["velocity"].nbytes
            assert cuda.copied == {TO_GPU: sent, TO_HOST: came}


@pytest.mark.parametrize("function", ["cudaMalloc", "cudaIpcGetMemHandle", "cudaMallocHost"])
async def test_a_full_gpu_is_no_failure(
    cuda: FakeCuda, triton: FakeTriton, gateway: Gateway, function: str
) -> None:
    cuda.failing.add(function)
    with capture_logs() as lines:
        for seed in range(3):
            np.testing.assert_array_equal(await gateway.velocity(seed), await expected(seed))
    assert [line["problem"] for line in lines] == [f"{function}: out of memory"]
    assert not any(places(request) for request in triton.requests)
    assert not cuda.gpu
    assert not cuda.host


@pytest.mark.parametrize("function", ["cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"])
async def test_a_gpu_that_is_lost_loses_no_result(
    cuda: FakeCuda, triton: FakeTriton, gateway: Gateway, function: str
) -> None:
    inputs = denoising()
    constants = {"residual": inputs.pop("residual")}
    async with gateway.engine.place(DENOISER_CACHED, constants) as placed:
        await placed.run(inputs)
        cuda.failing.add(function)
        with capture_logs() as lines:
            for _ in range(3):
                result = await placed.run(inputs)
                np.testing.assert_array_equal(result["velocity"], await expected())
    assert [line["event"] for line in lines] == ["no memory is shared"]
    with capture_logs() as lines:
        np.testing.assert_array_equal(await gateway.velocity(1), await expected(1))
    assert not places(triton.requests[-1])
    assert not lines


async def test_a_triton_without_a_gpu_is_asked_once(triton: FakeTriton) -> None:
    triton.cuda = None
    gateway = Gateway(triton.address, use="cuda")
    with capture_logs() as lines:
        for seed in range(3):
            np.testing.assert_array_equal(await gateway.velocity(seed), await expected(seed))
    await gateway.close()
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("no memory is shared", "warning")
    ]


async def test_memory_that_triton_may_still_write_to_is_left_to_it(
    cuda: FakeCuda, triton: FakeTriton, gateway: Gateway
) -> None:
    left = await abandoned(triton, gateway)
    np.testing.assert_array_equal(await gateway.velocity(1), await expected(1))
    assert left.isdisjoint(places(triton.requests[-1]).values())
    # Taken from it now, it would write to memory that is another's.
    assert left <= set(triton.regions)
    await gateway.close()
    assert left == set(triton.regions)
    assert len(cuda.gpu) == len(left)


def test_after_a_while_it_is_taken_back(cuda: FakeCuda) -> None:
    clock = iter((0.0, LINGER_S - 1, LINGER_S))
    pool = Pool(CudaMemory(), "regions", LIMIT_BYTES, now=clock.__next__)
    lease = pool.lease({"x": INLINE_BYTES})
    lease.abandon()
    del lease
    assert pool.leased == 1
    assert not pool.retired
    assert pool.leased == 0
    (region,) = pool.retired
    region.free()
    assert not cuda.gpu


async def test_all_of_it_is_given_back(cuda: FakeCuda, triton: FakeTriton) -> None:
    async def share() -> None:
        # Closing a channel has each running function's variables kept until that returns.
        gateway = Gateway(triton.address, use="cuda")
        result = await gateway.velocity()
        assert cuda.gpu
        await gateway.close()
        assert not cuda.gpu
        # Until the last array on it dies.
        assert cuda.host
        np.testing.assert_array_equal(result, await expected())

    await share()

    def nothing_is_held() -> bool:
        gc.collect()
        return not cuda.host

    await until(nothing_is_held)


@pytest.mark.slow
async def test_a_real_triton_refuses_what_is_on_no_gpu(cuda: FakeCuda, tmp_path: Path) -> None:
    add_model(tmp_path / "models", "doubling", doubling(), max_batch_size=8)
    scene = Scene(tmp_path / "models", tmp_path / "run", tmp_path / "triton.log")
    x = np.random.default_rng(0).standard_normal((2, 2**20)).astype(np.float32)
    async with scene.start(find_installation()) as triton:
        gateway = Gateway(triton.grpc_url, use="cuda")
        with capture_logs() as lines:
            for _ in range(2):
                np.testing.assert_array_equal(
                    (await gateway.engine.run(DOUBLING, {"x": x}))["y"], 2 * x
                )
        await gateway.close()
    assert [line["event"] for line in lines] == ["no memory is shared"]
    assert not cuda.gpu
