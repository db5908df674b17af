"""The layers around an engine, on fake engines: metering, ejection, scheduling, failover."""

import asyncio
from contextlib import AsyncExitStack

import numpy as np
import pytest

from server.errors import (
    EngineUnavailableError,
    ExecutionError,
    ExecutionFailedError,
    ExecutionTimeoutError,
    OutOfMemoryError,
)
from server.triton.contract import DENOISER_CACHED, TIME_MODULATION
from server.triton.endpoint import Endpoint
from server.triton.engine import Engine
from server.triton.failover import FailoverEngine
from server.triton.metering import MeteredEngine
from server.triton.scheduling import ScheduledEngine
from tests.support.fake_engine import FakeEngine
from tests.support.serving import until

TIMESTEP = {"timestep": np.ones((1, 1), np.float32)}
CONSTANTS = {
    "condition": np.ones((1, 20, 2, 8, 8), np.float32),
    "residual": np.ones((1, 1, 32, 8), np.float32),
}
STEP = TIMESTEP | {"latents": np.ones((1, 16, 2, 8, 8), np.float32)}
GONE = EngineUnavailableError("denoiser", "no Triton can be reached")
LATE = ExecutionTimeoutError("denoiser", 1.0)
FAILED = ExecutionFailedError("denoiser", "the execution failed")
NO_MEMORY = OutOfMemoryError("denoiser")


class Fleet:
    """Some endpoints that can be used, on fake engines, and all layers around them."""

    def __init__(self, size: int = 2, wait_s: float = 0.0) -> None:
        self.engines = [FakeEngine() for _ in range(size)]
        self.changes: list[None] = []
        self.endpoints = [
            Endpoint(f"triton-{number}", MeteredEngine(engine), lambda: self.changes.append(None))
            for number, engine in enumerate(self.engines)
        ]
        for endpoint in self.endpoints:
            endpoint.admit()
        self.engine = FailoverEngine(ScheduledEngine(self.endpoints), attempts=size, wait_s=wait_s)

    @property
    def executions(self) -> list[int]:
        return [len(engine.executions) for engine in self.engines]


async def test_a_meter_counts_what_runs_and_what_has() -> None:
    fake = FakeEngine()
    meter = MeteredEngine(fake)
    fake.delay_s = 60
    running = asyncio.create_task(meter.run(TIME_MODULATION, TIMESTEP))
    await until(lambda: meter.in_flight == 1)
    running.cancel()
    await asyncio.wait([running])
    assert (meter.in_flight, meter.completed) == (0, 0)
    fake.delay_s = 0
    await meter.run(TIME_MODULATION, TIMESTEP)
    async with meter.place(DENOISER_CACHED, CONSTANTS) as placed:
        assert meter.placed == 1
        await placed.run(STEP)
    fake.error = GONE
    with pytest.raises(EngineUnavailableError):
        await meter.run(TIME_MODULATION, TIMESTEP)
    assert (meter.in_flight, meter.completed, meter.placed) == (0, 2, 0)


async def test_an_endpoint_is_used_only_after_somebody_has_tried_it() -> None:
    fake = FakeEngine()
    endpoint = Endpoint("triton", MeteredEngine(fake))
    with pytest.raises(EngineUnavailableError):
        await endpoint.run(TIME_MODULATION, TIMESTEP)
    assert fake.executions == []
    endpoint.admit()
    await endpoint.run(TIME_MODULATION, TIMESTEP)


async def test_a_fault_of_the_engine_ejects_the_endpoint_until_it_is_admitted() -> None:
    fleet = Fleet(1)
    (endpoint,), (fake,) = fleet.endpoints, fleet.engines
    fake.error = GONE
    with pytest.raises(EngineUnavailableError, match="reached"):
        await endpoint.run(TIME_MODULATION, TIMESTEP)
    fake.error = None
    assert not endpoint.usable
    assert endpoint.suspected.is_set()
    with pytest.raises(EngineUnavailableError):
        await endpoint.run(TIME_MODULATION, TIMESTEP)
    assert fake.executions == ["time_modulation"]
    endpoint.admit()
    await endpoint.run(TIME_MODULATION, TIMESTEP)
    # Admitted, ejected, admitted.
    assert len(fleet.changes) == 3


@pytest.mark.parametrize(("error", "suspected"), [(LATE, True), (FAILED, True), (NO_MEMORY, False)])
async def test_an_executions_own_failure_leaves_the_endpoint_in_use(
    error: ExecutionError, suspected: bool
) -> None:
    fleet = Fleet(1)
    (endpoint,), (fake,) = fleet.endpoints, fleet.engines
    fake.error = error
    with pytest.raises(type(error)):
        await endpoint.run(TIME_MODULATION, TIMESTEP)
    assert endpoint.usable
    assert endpoint.suspected.is_set() is suspected
    assert endpoint.take_suspects() == ({"time_modulation"} if suspected else set())
    assert not endpoint.suspected.is_set()
    assert endpoint.take_suspects() == set()


async def test_what_runs_on_an_ejected_endpoint_ends_at_once() -> None:
    fleet = Fleet(1)
    (endpoint,), (fake,) = fleet.endpoints, fleet.engines
    fake.delay_s = 60
    running = asyncio.create_task(endpoint.run(TIME_MODULATION, TIMESTEP))
    await until(lambda: endpoint.meter.in_flight == 1)
    endpoint.eject("it gives no sign of life")
    with pytest.raises(EngineUnavailableError, match="lost"):
        await running


async def test_the_triton_with_the_least_to_do_is_taken() -> None:
    fleet = Fleet(3)
    engine = ScheduledEngine(fleet.endpoints)
    fleet.engines[0].delay_s = 60
    waiting = asyncio.create_task(engine.run(TIME_MODULATION, TIMESTEP))
    await until(lambda: fleet.endpoints[0].meter.in_flight == 1)
    async with engine.place(DENOISER_CACHED, CONSTANTS) as placed:
        await placed.run(STEP)
        for _ in range(3):
            await engine.run(TIME_MODULATION, TIMESTEP)
        await placed.run(STEP)
    assert fleet.executions == [1, 2, 3]
    waiting.cancel()


async def test_among_equals_the_work_goes_round() -> None:
    fleet = Fleet(3)
    for _ in range(6):
        await fleet.engine.run(TIME_MODULATION, TIMESTEP)
    assert fleet.executions == [2, 2, 2]


async def test_where_nothing_can_be_used_it_is_said_at_once() -> None:
    fleet = Fleet(2)
    for endpoint in fleet.endpoints:
        endpoint.eject("gone")
    with pytest.raises(EngineUnavailableError, match="no Triton that can be used"):
        await fleet.engine.run(TIME_MODULATION, TIMESTEP)
    assert fleet.executions == [0, 0]


@pytest.mark.parametrize("error", [GONE, LATE])
async def test_what_fails_on_one_triton_is_run_on_another(error: Exception) -> None:
    fleet = Fleet(2)
    fleet.engines[0].error = error
    assert "modulation" in await fleet.engine.run(TIME_MODULATION, TIMESTEP)
    assert fleet.executions == [1, 1]


@pytest.mark.parametrize("error", [FAILED, NO_MEMORY])
async def test_what_would_fail_anywhere_is_not_tried_again(error: Exception) -> None:
    fleet = Fleet(2)
    fleet.engines[0].error = error
    with pytest.raises(type(error)):
        await fleet.engine.run(TIME_MODULATION, TIMESTEP)
    assert fleet.executions == [1, 0]


async def test_every_triton_is_tried_but_once() -> None:
    fleet = Fleet(3)
    for fake in fleet.engines:
        fake.error = GONE
    with pytest.raises(EngineUnavailableError):
        await fleet.engine.run(TIME_MODULATION, TIMESTEP)
    assert fleet.executions == [1, 1, 1]


async def test_placed_constants_move_along_when_their_triton_is_lost() -> None:
    fleet = Fleet(2)
    expected = await FakeEngine().run(DENOISER_CACHED, CONSTANTS | STEP)
    async with fleet.engine.place(DENOISER_CACHED, CONSTANTS) as placed:
        await placed.run(STEP)
        await placed.run(STEP)
        first = fleet.executions.index(2)
        fleet.endpoints[first].eject("gone")
        result = await placed.run(STEP)
        assert fleet.endpoints[1 - first].meter.placed == 1
    np.testing.assert_array_equal(result["velocity"], expected["velocity"])
    assert sorted(fleet.executions) == [1, 2]
    assert [endpoint.meter.placed for endpoint in fleet.endpoints] == [0, 0]


async def test_what_is_lost_with_the_last_triton_waits_for_the_next() -> None:
    fleet = Fleet(1, wait_s=60)
    (endpoint,), (fake,) = fleet.endpoints, fleet.engines
    expected = await FakeEngine().run(DENOISER_CACHED, CONSTANTS | STEP)
    fake.delay_s = 60
    async with fleet.engine.place(DENOISER_CACHED, CONSTANTS) as placed:
        running = asyncio.create_task(placed.run(STEP))
        await until(lambda: endpoint.meter.in_flight == 1)
        endpoint.eject("it has ended")
        late = asyncio.create_task(fleet.engine.run(TIME_MODULATION, TIMESTEP))
        await until(lambda: endpoint.meter.placed == 0)
        fake.delay_s = 0
        assert len(fake.executions) == 1
        endpoint.admit()
        np.testing.assert_array_equal((await running)["velocity"], expected["velocity"])
        assert "modulation" in await late


async def test_what_tritons_die_of_is_given_up() -> None:
    fleet = Fleet(1, wait_s=60)
    (endpoint,), (fake,) = fleet.endpoints, fleet.engines
    fake.error = GONE
    running = asyncio.create_task(fleet.engine.run(TIME_MODULATION, TIMESTEP))
    await until(lambda: not endpoint.usable)
    endpoint.admit()
    with pytest.raises(EngineUnavailableError, match="reached"):
        await running
    assert fleet.executions == [2]


async def test_nobody_waits_longer_than_is_said_nor_for_a_triton_that_is_refused() -> None:
    fleet = Fleet(2, wait_s=0.01)
    for endpoint in fleet.endpoints:
        endpoint.eject("gone")
    with pytest.raises(EngineUnavailableError, match="no Triton that can be used"):
        await fleet.engine.run(TIME_MODULATION, TIMESTEP)
    patient = Fleet(1, wait_s=3600)
    patient.endpoints[0].refuse("it is of another checkpoint")
    with pytest.raises(EngineUnavailableError, match="another checkpoint"):
        await patient.engine.run(TIME_MODULATION, TIMESTEP)


async def test_a_timeout_is_not_waited_out_twice_on_one_triton() -> None:
    fleet = Fleet(1, wait_s=60)
    fleet.engines[0].error = LATE
    with pytest.raises(ExecutionTimeoutError):
        await fleet.engine.run(TIME_MODULATION, TIMESTEP)
    assert fleet.executions == [1]


async def test_constants_without_a_place_are_handed_over_each_time() -> None:
    class Plain(FakeEngine):
        pass

    engine: Engine = Plain()
    expected = await engine.run(DENOISER_CACHED, CONSTANTS | STEP)
    async with AsyncExitStack() as context:
        placed = await context.enter_async_context(engine.place(DENOISER_CACHED, CONSTANTS))
        result = await placed.run(STEP, ["velocity"])
    np.testing.assert_array_equal(result["velocity"], expected["velocity"])
