"""Which network hangs is told by what its executions usually take; time is what the test says."""

import asyncio
from contextlib import ExitStack

import numpy as np
import pytest

from server.errors import ExecutionFailedError
from server.triton.contract import DENOISER, TIME_MODULATION, Network
from server.triton.pace import FADING, HANG_FACTOR, HANG_S, Pace


class Scene:
    """Executions that begin and end when the test says."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pace = Pace(lambda: self.now_s)
        self._begun: list[ExitStack] = []

    def begin(self, network: Network = DENOISER, size: int = 1000) -> ExitStack:
        """Begins an execution; closing the stack ends it."""
        stack = ExitStack()
        stack.enter_context(self.pace.execution(network, {"latents": np.ones(size, np.float32)}))
        self._begun.append(stack)
        return stack

    def give_up(self, execution: ExitStack) -> None:
        execution.__exit__(asyncio.CancelledError, asyncio.CancelledError(), None)

    def run(self, took_s: float, network: Network = DENOISER, size: int = 1000) -> None:
        with self.begin(network, size):
            self.now_s += took_s

    def hangs_after(self, waited_s: float) -> bool:
        """Whether something hangs then, and nothing did a moment before."""
        self.now_s += waited_s - 0.01
        before = self.pace.hung()
        self.now_s += 0.02
        return before is None and self.pace.hung() is not None


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_what_is_quick_hangs_after_seconds(scene: Scene) -> None:
    scene.run(0.1)
    scene.begin()
    assert scene.hangs_after(HANG_S)


def test_what_is_slow_hangs_after_several_times_as_long(scene: Scene) -> None:
    scene.run(30)
    scene.begin()
    assert scene.hangs_after(HANG_FACTOR * 30)


def test_what_never_ran_may_take_any_time(scene: Scene) -> None:
    scene.run(0.1)
    large = scene.begin(size=10_000)
    scene.begin()
    scene.now_s += 3600
    assert scene.pace.hung() is None
    large.close()
    assert scene.hangs_after(HANG_S)


def test_a_long_queue_may_take_as_long_as_all_in_it(scene: Scene) -> None:
    scene.run(2)
    scene.run(3, TIME_MODULATION)
    for _ in range(4):
        scene.begin()
    scene.begin(TIME_MODULATION).close()
    scene.begin(TIME_MODULATION)
    assert scene.hangs_after(HANG_FACTOR * (4 * 2 + FADING * 3))


def test_a_network_that_answers_does_not_hang(scene: Scene) -> None:
    scene.run(1)
    waiting = [scene.begin() for _ in range(20)]
    for execution in waiting[:-1]:
        scene.now_s += HANG_S - 1
        execution.close()
        assert scene.pace.hung() is None
    assert scene.hangs_after(HANG_FACTOR * (HANG_S - 1))


def test_a_failure_is_an_answer_that_tells_no_time(scene: Scene) -> None:
    scene.run(0.1)
    failing = scene.begin()
    scene.begin()
    scene.now_s += HANG_S - 1
    error = ExecutionFailedError("denoiser", "the execution failed")
    assert not failing.__exit__(type(error), error, None)
    assert scene.hangs_after(HANG_S)


def test_what_was_given_up_may_still_be_under_way(scene: Scene) -> None:
    scene.run(60, size=10_000)
    scene.run(0.1)
    scene.give_up(scene.begin(size=10_000))
    last = scene.begin()
    scene.now_s += HANG_FACTOR * 60
    assert scene.pace.hung() is None
    last.close()
    # Networks answer in order, so nothing is under way any more.
    for _ in range(100):
        scene.run(0.1)
    scene.begin()
    assert scene.hangs_after(HANG_S)


def test_nobody_waits_for_what_was_given_up(scene: Scene) -> None:
    scene.run(0.1)
    scene.give_up(scene.begin())
    scene.now_s += 3600
    assert scene.pace.hung() is None


def test_one_slow_execution_counts_less_and_less(scene: Scene) -> None:
    scene.run(10)
    for _ in range(50):
        scene.run(0.1)
    scene.begin()
    assert scene.hangs_after(HANG_S)


def test_the_next_triton_is_not_blamed_for_the_last(scene: Scene) -> None:
    scene.run(0.1)
    scene.begin()
    scene.now_s += HANG_S + 1
    assert scene.pace.hung() == "denoiser"
    scene.pace.forget()
    assert scene.pace.hung() is None
    scene.begin()
    scene.now_s += 3600
    assert scene.pace.hung() is None
