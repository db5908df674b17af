"""The client against a server that speaks Triton's protocol, but is none."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio

from server.errors import (
    AvatarError,
    EngineUnavailableError,
    ExecutionError,
    ExecutionFailedError,
    ExecutionTimeoutError,
    OutOfMemoryError,
)
from server.triton import wire
from server.triton.client import TritonEngine
from server.triton.contract import DENOISER_CACHED, TIME_MODULATION, ContractViolationError
from server.triton.engine import Priority
from server.triton.failures import failure
from tests.support.fake_engine import FakeEngine
from tests.support.fake_triton import FakeTriton, fake_triton

TIMESTEP = {"timestep": np.ones((1, 1), np.float32)}


def denoising(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = {
        "latents": (1, 16, 2, 8, 8),
        "condition": (1, 20, 2, 8, 8),
        "timestep": (1, 1),
        "residual": (1, 1, 32, 8),
    }
    return {
        name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }


@pytest_asyncio.fixture
async def triton() -> AsyncIterator[FakeTriton]:
    async with fake_triton() as running:
        yield running


@pytest_asyncio.fixture
async def engine(triton: FakeTriton) -> AsyncIterator[TritonEngine]:
    engine = TritonEngine(triton.address, timeout_s=20)
    yield engine
    await engine.close()


async def test_what_is_run_there_is_what_is_run_here(engine: TritonEngine) -> None:
    here = await FakeEngine().run(DENOISER_CACHED, denoising())
    there = await engine.run(DENOISER_CACHED, denoising(), priority=Priority.FIRST_FRAME)
    np.testing.assert_array_equal(there["velocity"], here["velocity"])


async def test_placed_constants_become_bytes_once(
    engine: TritonEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    tensors = wire.tensors

    def noting(network: Any, arrays: Any, places: Any) -> list[bytes]:
        written.extend(arrays)
        return tensors(network, arrays, places)

    monkeypatch.setattr(wire, "tensors", noting)
    inputs = denoising()
    constants = {name: inputs.pop(name) for name in ("condition", "residual")}
    async with engine.place(DENOISER_CACHED, constants) as placed:
        for seed in range(3):
            step = {name: denoising(seed)[name] for name in inputs}
            expected = await FakeEngine().run(DENOISER_CACHED, constants | step)
            result = await placed.run(step)
            np.testing.assert_array_equal(result["velocity"], expected["velocity"])
    assert sorted(written) == ["condition", *["latents"] * 3, "residual", *["timestep"] * 3]


async def test_no_tensor_becomes_bytes_or_comes_of_them_on_the_event_loop(
    engine: TritonEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def noting(work: Any) -> Any:
        def noted(*arguments: Any) -> Any:
            threads.append(threading.current_thread())
            return work(*arguments)

        return noted

    for work in ("tensors", "request", "arrays"):
        monkeypatch.setattr(wire, work, noting(getattr(wire, work)))
    await engine.run(DENOISER_CACHED, denoising())
    assert len(threads) >= 3
    assert threading.main_thread() not in threads


async def test_only_what_is_asked_for_is_sent(triton: FakeTriton, engine: TritonEngine) -> None:
    assert set(await engine.run(TIME_MODULATION, TIMESTEP, ["modulation"])) == {"modulation"}
    (request,) = triton.requests
    assert [output.name for output in request.outputs] == ["modulation"]


async def test_inputs_against_the_contract_are_not_sent(
    triton: FakeTriton, engine: TritonEngine
) -> None:
    with pytest.raises(ContractViolationError, match="timestep"):
        await engine.run(TIME_MODULATION, {"timestep": np.ones((1, 2), np.float32)})
    with pytest.raises(ContractViolationError, match="missing"):
        await engine.run(TIME_MODULATION, {})
    assert not triton.requests


async def test_an_execution_may_take_as_long_as_is_said(
    triton: FakeTriton, engine: TritonEngine
) -> None:
    assert isinstance(triton.engine, FakeEngine)
    triton.engine.delay_s = 60
    with pytest.raises(ExecutionTimeoutError):
        await engine.run(TIME_MODULATION, TIMESTEP, timeout_s=0.05)


async def test_nobody_there_is_the_engines_fault(triton: FakeTriton) -> None:
    async with fake_triton() as gone:
        pass
    engine = TritonEngine(gone.address, timeout_s=20)
    with pytest.raises(EngineUnavailableError):
        await engine.run(TIME_MODULATION, TIMESTEP)
    with pytest.raises(EngineUnavailableError):
        await engine.live(5)
    await engine.close()


async def test_the_loopback_interface_is_reached_without_the_environments_proxy(
    monkeypatch: pytest.MonkeyPatch, triton: FakeTriton
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    port = triton.address.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost"):
        engine = TritonEngine(f"{host}:{port}", timeout_s=20)
        await engine.live(20)
        await engine.run(TIME_MODULATION, TIMESTEP)
        await engine.close()


async def test_a_proxy_is_used_for_what_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readline()).startswith(b"CONNECT triton.invalid:8001")
        asked.set()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy", "grpc_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    engine = TritonEngine("triton.invalid:8001", timeout_s=20)
    with pytest.raises(EngineUnavailableError):
        await engine.live(20)
    assert asked.is_set()
    await engine.close()
    server.close()


async def test_ipv6_and_names_are_addresses_too() -> None:
    async with fake_triton("[::1]:0") as triton:
        engine = TritonEngine(triton.address, timeout_s=20)
        await engine.run(TIME_MODULATION, TIMESTEP)
        await engine.close()


ARENA = "Available memory of 524288 is smaller than requested bytes of 8388608"
STUB = "Failed to process the request(s), message: Stub process 'x_0_0' is not healthy."


@pytest.mark.parametrize(
    ("code", "details", "meaning"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", EngineUnavailableError),
        (grpc.StatusCode.NOT_FOUND, "unknown model", EngineUnavailableError),
        (grpc.StatusCode.INTERNAL, STUB, EngineUnavailableError),
        (grpc.StatusCode.INTERNAL, "Stub process is not healthy.", EngineUnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", ExecutionTimeoutError),
        (grpc.StatusCode.INTERNAL, "CUDA failure 2: out of memory", OutOfMemoryError),
        (grpc.StatusCode.INTERNAL, "Failed to allocate memory for buffer", OutOfMemoryError),
        (grpc.StatusCode.INTERNAL, "std::bad_alloc", OutOfMemoryError),
        (
            grpc.StatusCode.INTERNAL,
            "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
            OutOfMemoryError,
        ),
        (grpc.StatusCode.INTERNAL, ARENA, OutOfMemoryError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "", OutOfMemoryError),
        (grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape", ExecutionFailedError),
        (grpc.StatusCode.INTERNAL, "Non-zero status code", ExecutionFailedError),
    ],
)
async def test_the_engines_fault_and_the_executions_own_are_told_apart(
    triton: FakeTriton,
    engine: TritonEngine,
    code: grpc.StatusCode,
    details: str,
    meaning: type[AvatarError],
) -> None:
    assert type(failure("denoiser", code, details, 1.0)) is meaning
    assert issubclass(meaning, ExecutionError) != issubclass(meaning, EngineUnavailableError)
    triton.status = code, details
    with pytest.raises(meaning):
        await engine.run(TIME_MODULATION, TIMESTEP)
