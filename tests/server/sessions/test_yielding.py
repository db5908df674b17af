"""Who has enough to play lets others go first that have not, in a time that passes at once."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.animation.stages import Stopwatch, Work
from server.sessions.conversation import converse
from server.sessions.gateway import Gateway
from server.sessions.jobs import Job, Offer
from server.sessions.pacer import AT_ONCE, Pace
from server.triton.contract import IMAGE_ENCODER
from server.triton.engine import Results
from server.triton.precedence import Precedence
from server.triton.usage import SharedTime, UsageEngine
from server.triton.yielding import YieldingEngine
from tests.support import virtual_time
from tests.support.conversations import FRAME, LIMITS, job
from tests.support.fake_engine import FakeEngine
from tests.support.serving import manifest, small_windows, speech, tokenizer

EXECUTION_S = 0.012
OVERLOAD, HEAVY, LIGHT = 30, 12, 2
"""Steps. A heavy stream takes two thirds of the machine to keep up, a light one a quarter."""
IN_REAL_TIME = Pace(is_realtime=True, buffer_s=1, is_told=True)


class Machine(FakeEngine):
    """Runs one execution at a time, in the order in which they come."""

    def __init__(self) -> None:
        super().__init__()
        self.delay_s = EXECUTION_S
        self._free = asyncio.Lock()

    async def run(self, *arguments: Any, **options: Any) -> Results:
        async with self._free:
            return await super().run(*arguments, **options)


@dataclass(frozen=True)
class Heard:
    """How a stream went: when its last frame came, its underruns, and the speed of its windows."""

    ended_s: float
    underruns: int
    speed: float


async def heard(gateway: Gateway, asked: Job, seconds: int) -> Heard:
    """Says all at once, in two utterances."""
    now = asyncio.get_running_loop().time
    async with converse(gateway, asked, LIMITS, now) as conversation:
        for part in np.array_split(speech(25 * seconds * FRAME), [25 * FRAME]):
            await conversation.push_audio(part.tobytes(), field="audio")
            await conversation.end_utterance()
        await conversation.end()
        async for _ in conversation.events():
            pass
        report = conversation.report
        return Heard(now(), report.underruns, report.speed)


def together(folder: Path, *streams: tuple[int, Pace, int]) -> list[Heard]:
    """Runs streams of some steps, a pace and a length in seconds at the same time."""

    async def main() -> list[Heard]:
        gateway = Gateway(Offer(small_windows(), manifest()), Machine(), tokenizer(folder))
        jobs = [
            (job(pace=pace, generation=replace(job().generation, steps=steps)), seconds)
            for steps, pace, seconds in streams
        ]
        return await asyncio.gather(*(heard(gateway, *each) for each in jobs))

    return virtual_time.run(main())


@asynccontextmanager
async def at_once(*_: object) -> AsyncGenerator[None]:
    """What an execution happens in where nobody yields."""
    yield


@pytest.fixture(autouse=True)
def windows_are_timed_in_that_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopwatch(recorder: Any) -> Stopwatch:
        return Stopwatch(recorder, asyncio.get_running_loop().time)

    monkeypatch.setattr("server.animation.pipeline.Stopwatch", stopwatch)


def test_a_stream_that_is_ahead_leaves_the_machine_to_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = (HEAVY, IN_REAL_TIME, 8), (LIGHT, AT_ONCE, 24)
    late, ahead = together(tmp_path, *streams)
    assert late.underruns == 0
    # It is not late for that, nor said to be slow.
    assert ahead.ended_s < 24
    assert ahead.speed > 2

    monkeypatch.setattr(YieldingEngine, "around", at_once)
    late, _ = together(tmp_path, *streams)
    assert late.underruns > 0


def test_one_that_is_always_late_keeps_nobody_out(tmp_path: Path) -> None:
    streams = (OVERLOAD, IN_REAL_TIME, 8), (LIGHT, AT_ONCE, 16)
    late, ahead = together(tmp_path, *streams)
    assert late.underruns > 0
    assert ahead.ended_s < 16


def test_what_was_waited_for_others_is_no_part_of_what_a_window_takes() -> None:
    before_its_audio = Work(frames=9, seconds=2.0, busy_s=3.0)
    assert before_its_audio.without(1.0) == Work(frames=9, seconds=2.0, busy_s=2.0)
    after_it = Work(frames=9, seconds=3.0, busy_s=3.0)
    assert after_it.without(1.0) == Work(frames=9, seconds=2.0, busy_s=2.0)


async def test_an_engine_tells_how_long_it_waited_once() -> None:
    precedence = Precedence(linger_s=0)
    usage = UsageEngine(Machine(), SharedTime(lambda: 1))
    engine = YieldingEngine(usage, precedence, lambda: 0.02)
    image = {"image": np.zeros((1, 224, 224, 3), np.uint8)}
    async with asyncio.timeout(20), precedence.turn(first=True):
        await engine.run(IMAGE_ENCODER, image)
    assert engine.take()[1] >= 0.02
    assert engine.take() == (0, 0)
