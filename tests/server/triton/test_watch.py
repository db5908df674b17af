"""What the watch over a Triton concludes, and when it looks."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import numpy as np
import pytest

from server.errors import (
    EngineUnavailableError,
    ExecutionFailedError,
    ExecutionTimeoutError,
    OutOfMemoryError,
)
from server.triton import pace, watch
from server.triton.checkpoint import OtherCheckpointError
from server.triton.contract import TIME_MODULATION
from server.triton.endpoint import Endpoint
from server.triton.metering import MeteredEngine
from tests.support.fake_engine import FakeEngine
from tests.support.serving import until

TIMESTEP = {"timestep": np.ones((1, 1), np.float32)}


class Scene:
    """A Triton that can be broken in many ways, its endpoint and the keeper of both."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.now_s = 0.0
        self.endpoint = Endpoint("triton", MeteredEngine(self.engine, lambda: self.now_s))
        self.probes: list[Collection[str]] = []
        self.asked = 0
        self.hangs = False
        self.completes_before_it_hangs = False
        self.other: OtherCheckpointError | None = None
        self.identified = 0
        self.problem: Exception | None = None
        self.probe_hangs = False
        self.replaced = 0

    async def live(self, timeout_s: float) -> None:
        self.asked += 1
        if self.completes_before_it_hangs:
            await self.endpoint.run(TIME_MODULATION, TIMESTEP)
        if self.hangs:
            raise EngineUnavailableError("triton", "it gives no sign of life")

    async def identify(self, timeout_s: float) -> None:
        self.identified += 1
        if self.other is not None:
            raise self.other

    async def probe(self, networks: Collection[str]) -> None:
        self.probes.append(networks)
        if self.hangs or self.probe_hangs:
            await asyncio.Event().wait()
        if self.problem is not None:
            raise self.problem

    async def ready(self) -> None:
        return

    def replace(self) -> None:
        self.replaced += 1

    async def works(self) -> None:
        """Waits until the endpoint has been found to work."""
        await until(lambda: self.endpoint.usable)

    async def fails(self) -> None:
        """Has an execution fail by itself."""
        self.engine.error = ExecutionFailedError("time_modulation", "the execution failed")
        with pytest.raises(ExecutionFailedError):
            await self.endpoint.run(TIME_MODULATION, TIMESTEP)
        self.engine.error = None

    async def executing(self) -> asyncio.Task[object]:
        """Begins an execution that does not end."""
        self.engine.delay_s = 60
        execution = asyncio.create_task(self.endpoint.run(TIME_MODULATION, TIMESTEP))
        await until(lambda: self.endpoint.meter.in_flight == 1)
        self.engine.delay_s = 0
        return execution

    async def rounds(self, count: int = 5) -> None:
        """Waits until the watch has asked for so many signs of life."""
        asked = self.asked + count
        await until(lambda: self.asked >= asked)


@asynccontextmanager
async def watched(interval_s: float = 3600, *, own: bool = True) -> AsyncIterator[Scene]:
    scene = Scene()
    running = asyncio.create_task(
        watch.Watch(
            scene.endpoint,
            live=scene.live,
            identify=scene.identify,
            probe=scene.probe,
            keeper=scene if own else None,
            interval_s=interval_s,
        ).run()
    )
    yield scene
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LIFE_INTERVAL_S", 0.005)
    monkeypatch.setattr(watch, "HANG_INTERVAL_S", 0.005)
    monkeypatch.setattr(watch, "RETRY_S", 0.005)
    monkeypatch.setattr(watch, "REST_FACTOR", 0)


async def test_everything_is_tried_at_first_and_less_in_routine() -> None:
    async with watched(interval_s=0.005) as scene:
        await until(lambda: len(scene.probes) >= 3)
        assert scene.endpoint.usable
        assert scene.probes[:3] == [watch.EVERY, watch.ROUTINE, watch.ROUTINE]


async def test_everything_is_tried_after_a_failure() -> None:
    async with watched() as scene:
        await scene.works()
        scene.endpoint.eject("an execution could not be run")
        await until(lambda: scene.endpoint.usable)
        assert scene.probes == [watch.EVERY, watch.EVERY]
        assert scene.replaced == 0


async def test_a_failed_execution_has_its_network_tried_while_the_triton_goes_on() -> None:
    async with watched() as scene:
        await scene.works()
        for _ in range(3):
            tried = len(scene.probes)
            await scene.fails()
            await until(lambda before=tried: len(scene.probes) > before)
        await scene.rounds()
        assert scene.endpoint.usable
        # However often clients make executions fail, they cannot have umT5 run for it.
        assert scene.probes == [watch.EVERY, *[{"time_modulation"}] * 3]


async def test_a_triton_that_completes_executions_is_not_tried() -> None:
    async with watched(interval_s=0.005) as scene:
        await scene.works()

        async def stream() -> None:
            while True:
                await scene.endpoint.run(TIME_MODULATION, TIMESTEP)
                await asyncio.sleep(0)

        streaming = asyncio.create_task(stream())
        await scene.rounds(2)
        tried = len(scene.probes)
        await scene.rounds(10)
        assert len(scene.probes) <= tried + 1
        streaming.cancel()
        await asyncio.wait([streaming])
        # One idle stream is none: what is not executed proves nothing.
        await until(lambda: len(scene.probes) >= tried + 3)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("busy", [True, False])
async def test_a_triton_that_hangs_is_found_busy_or_not(own: bool, busy: bool) -> None:
    async with watched(own=own) as scene:
        await scene.works()
        execution = None
        if busy:
            execution = await scene.executing()
        scene.hangs = True
        await until(lambda: not scene.endpoint.usable)
        if execution is not None:
            with pytest.raises(EngineUnavailableError):
                await execution
        await until(lambda: scene.replaced > 0 or not own)
        scene.hangs = False
        await until(lambda: scene.endpoint.usable)


async def test_one_sign_of_life_that_is_missed_is_none() -> None:
    async with watched() as scene:
        await scene.works()
        missed = 0
        while missed < 5:
            scene.hangs = missed % 2 == 0
            await scene.rounds(1)
            missed += 1
            scene.hangs = False
            await scene.rounds(1)
        assert scene.endpoint.usable


async def test_a_triton_that_completes_executions_is_not_given_up_for_dead() -> None:
    async with watched() as scene:
        await scene.works()
        scene.completes_before_it_hangs = True
        scene.hangs = True
        await scene.rounds(10)
        assert scene.endpoint.usable
        assert scene.replaced == 0


async def test_an_idle_network_that_hangs_is_found_by_a_trial_and_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "TRIAL_TIMEOUT_S", 0.01)
    async with watched(interval_s=0.005) as scene:
        await scene.works()
        scene.probe_hangs = True
        await until(lambda: not scene.endpoint.usable)
        await until(lambda: scene.replaced == 1)
        scene.probe_hangs = False
        scene.endpoint.eject("it has ended")
        await scene.works()


async def test_a_busy_network_that_hangs_is_found_by_its_executions_and_replaced() -> None:
    async with watched() as scene:
        await scene.works()
        await scene.endpoint.run(TIME_MODULATION, TIMESTEP)
        execution = await scene.executing()
        scene.now_s += pace.HANG_S - 1
        await scene.rounds()
        assert scene.endpoint.usable
        scene.now_s += 2
        with pytest.raises(EngineUnavailableError):
            await execution
        assert scene.replaced == 1
        await scene.works()
        # What was asked of the Triton before is no business of the new one.
        await scene.rounds()
        assert scene.replaced == 1


async def test_an_event_loop_that_was_held_up_is_no_network_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with watched() as scene:
        await scene.works()
        seen = 0

        def once() -> str | None:
            nonlocal seen
            seen += 1
            return "time_modulation" if seen == 1 else None

        monkeypatch.setattr(scene.endpoint.meter.pace, "hung", once)
        await until(lambda: seen >= 3)
        assert scene.endpoint.usable


async def test_a_new_triton_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "TRIAL_TIMEOUT_S", 0.01)
    async with watched(interval_s=0.005) as scene:
        await scene.works()
        scene.hangs = True
        await until(lambda: scene.replaced >= 1)
        scene.hangs, scene.probe_hangs = False, True
        tried = len(scene.probes)
        await until(lambda: len(scene.probes) > tried)
        await scene.rounds(10)
        assert len(scene.probes) == tried + 1


@pytest.mark.parametrize(
    "problem", [ExecutionTimeoutError("denoiser", 1.0), OutOfMemoryError("denoiser"), ValueError()]
)
async def test_a_trial_that_fails_beside_other_work_proves_nothing(problem: Exception) -> None:
    async with watched(interval_s=0.005) as scene:
        await scene.works()
        execution = await scene.executing()
        scene.problem = problem
        for _ in range(3):
            tried = len(scene.probes)
            await scene.fails()
            await until(lambda before=tried: len(scene.probes) > before)
        await scene.rounds()
        assert scene.endpoint.usable
        assert scene.replaced == 0
        # Alone it must succeed.
        execution.cancel()
        await until(lambda: not scene.endpoint.usable)


async def test_nothing_is_tried_beside_other_work_without_a_reason() -> None:
    async with watched(interval_s=0.005) as scene:
        await scene.works()
        execution = await scene.executing()
        await scene.rounds(1)
        tried = len(scene.probes)
        await scene.rounds(10)
        assert len(scene.probes) == tried
        execution.cancel()


async def test_a_triton_whose_networks_fail_is_replaced_after_two_trials() -> None:
    async with watched() as scene:
        await scene.works()
        scene.problem = EngineUnavailableError("denoiser", "the process that ran it has died")
        scene.endpoint.eject("the process that ran it has died")
        await until(lambda: scene.replaced >= 1)
        assert len(scene.probes) >= 3
        assert not scene.endpoint.usable
        scene.problem = None
        await until(lambda: scene.endpoint.usable)


OTHER = OtherCheckpointError("denoiser", "theirs", "ours")


async def test_a_triton_of_another_checkpoint_is_neither_used_nor_tried_nor_replaced() -> None:
    async with watched() as scene:
        scene.other = OTHER
        await until(lambda: scene.identified > 2 * watch.FAILURES_TO_REPLACE)
        assert not scene.endpoint.usable
        # The first of all is the one from before the Triton was another.
        assert len(scene.probes) <= 1
        assert scene.replaced == 0
        scene.other = None
        await scene.works()
        assert scene.endpoint.refusal is None


async def test_another_checkpoint_is_found_while_streams_run_and_ends_what_runs() -> None:
    async with watched(interval_s=0.005) as scene:
        await scene.works()
        execution = await scene.executing()
        scene.other = OTHER
        with pytest.raises(EngineUnavailableError):
            await execution
        assert not scene.endpoint.usable
        assert scene.endpoint.refusal == str(OTHER)


async def test_a_refused_triton_that_is_lost_may_come_back_as_another() -> None:
    async with watched() as scene:
        scene.other = OTHER
        await until(lambda: scene.endpoint.refusal is not None)
        scene.hangs = True
        await until(lambda: scene.endpoint.refusal is None)
        assert not scene.endpoint.usable
