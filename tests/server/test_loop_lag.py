"""A held event loop is seen and said; time is what the test says."""

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from server.loop_lag import INTERVAL_S, LONG_S, WARNING_INTERVAL_S, LoopLag
from tests.support.serving import until


async def watched(holds_s: list[float]) -> tuple[list[float], list[dict[str, object]]]:
    """Sleeps that are held up for so long; returns what was observed and the warnings."""
    now_s = 0.0
    left = iter(holds_s)
    observed: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        held_s = next(left, None)
        if held_s is None:
            raise asyncio.CancelledError
        now_s += seconds + held_s

    lag = LoopLag(observed.append, now=lambda: now_s, sleep=sleep)
    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await lag.run()
    return observed, [dict(entry) for entry in logs]


async def test_how_long_the_loop_is_held_is_observed() -> None:
    observed, warnings = await watched([0.0, 0.05, LONG_S - 0.01])
    assert observed == pytest.approx([0.0, 0.05, LONG_S - 0.01])
    assert warnings == []


async def test_a_long_hold_is_a_warning_and_many_are_few() -> None:
    often = round(WARNING_INTERVAL_S / (0.3 + INTERVAL_S)) + 1
    _, warnings = await watched([0.2, *[0.3] * often, 0.0])
    assert [(w["longest_ms"], w["times"]) for w in warnings] == [(200, 1), (300, often)]


async def test_a_sleep_that_ends_early_is_no_hold() -> None:
    observed, _ = await watched([-0.001])
    assert observed == [0.0]


async def test_what_blocks_the_loop_is_seen() -> None:
    observed: list[float] = []
    running = asyncio.create_task(LoopLag(observed.append).run())
    await until(lambda: len(observed) > 1)
    seen = len(observed)
    time.sleep(2 * INTERVAL_S)  # noqa: ASYNC251 - on purpose
    await until(lambda: len(observed) > seen)
    assert max(observed[seen:]) > INTERVAL_S / 2
    running.cancel()
