"""Executions that run at once share the engines' time."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from server.triton.contract import IMAGE_ENCODER, Arrays, Network
from server.triton.engine import Engine, Priority
from server.triton.usage import SharedTime, UsageEngine


class Time:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def test_what_runs_alone_gets_all_of_an_engine() -> None:
    now = Time()
    shared = SharedTime(lambda: 1, now)
    now.s += 5
    began_s = shared.begin()
    now.s += 2
    assert shared.end() - began_s == 2


def test_what_runs_at_once_gets_equal_shares_and_no_more_in_all_than_there_is() -> None:
    now = Time()
    shared = SharedTime(lambda: 1, now)
    first = shared.begin()
    now.s += 1
    second = shared.begin()
    now.s += 4
    took_second = shared.end() - second
    now.s += 1
    took_first = shared.end() - first
    assert (took_first, took_second) == (4, 2)
    assert took_first + took_second == now.s - 100


@pytest.mark.parametrize(("engines", "each"), [(0, 0), (1, 2), (2, 4), (3, 4)])
def test_two_on_several_engines_do_not_share(engines: int, each: float) -> None:
    now = Time()
    shared = SharedTime(lambda: engines, now)
    first, second = shared.begin(), shared.begin()
    now.s += 4
    assert (shared.end() - first, shared.end() - second) == (each, each)


class Slow(Engine):
    """Takes two seconds of a clock, and fails if told to."""

    def __init__(self, now: Time) -> None:
        self._now = now
        self.error: Exception | None = None

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        self._now.s += 2
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return {}


async def test_executions_are_added_up_until_they_are_taken_failed_ones_too() -> None:
    now = Time()
    slow = Slow(now)
    usage = UsageEngine(slow, SharedTime(lambda: 1, now))
    inputs = {"image": np.zeros((1, 8, 8, 3), np.uint8)}
    await usage.run(IMAGE_ENCODER, inputs)
    slow.error = ValueError("broken")
    with pytest.raises(ValueError, match="broken"):
        await usage.run(IMAGE_ENCODER, inputs)
    assert (usage.take(), usage.take()) == (4, 0)
