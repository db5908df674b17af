"""The timeline between what came in and what was used."""

import asyncio

import numpy as np
import pytest

from server.audio.pcm import Samples
from server.audio.timeline import AudioBudget, AudioTimeline


def ramp(start: int, count: int) -> Samples:
    return np.arange(start, start + count, dtype=np.float32)


async def test_the_timeline_gives_what_was_pushed() -> None:
    timeline = AudioTimeline(AudioBudget(100))
    await timeline.push(ramp(0, 30))
    await timeline.push(ramp(30, 30))
    assert (await timeline.take(0, 40)).tolist() == list(range(40))
    assert (await timeline.take(20, 60)).tolist() == list(range(20, 60))


async def test_the_timeline_does_not_go_back() -> None:
    timeline = AudioTimeline(AudioBudget(100))
    await timeline.push(ramp(0, 50))
    await timeline.take(20, 30)
    with pytest.raises(ValueError, match="is gone"):
        await timeline.take(10, 30)


async def test_taking_waits_for_the_audio_or_the_end() -> None:
    timeline = AudioTimeline(AudioBudget(100))
    taking = asyncio.create_task(timeline.take(0, 20))
    await timeline.push(ramp(0, 10))
    await asyncio.sleep(0)
    assert not taking.done()
    await timeline.finish(ramp(10, 5), length=15)
    assert (await taking).tolist() == list(range(15))


async def test_the_end_fills_the_last_frame_or_cuts_what_is_rounded_up() -> None:
    for pushed, length in [(10, 15), (16, 15)]:
        timeline = AudioTimeline(AudioBudget(100))
        await timeline.push(ramp(1, pushed))
        await timeline.finish(ramp(0, 0), length=length)
        samples = await timeline.take(0, 100)
        assert len(samples) == length
        assert samples[: min(pushed, length)].tolist() == ramp(1, min(pushed, length)).tolist()
        assert not samples[pushed:].any()


async def test_utterances_of_a_call_share_its_budget() -> None:
    budget = AudioBudget(20)
    first, second = AudioTimeline(budget), AudioTimeline(budget)
    await first.push(ramp(0, 15))
    await second.push(ramp(0, 5))
    assert budget.has_room(0)
    assert not budget.has_room(1)
    await second.take(0, 3)
    assert budget.has_room(3)
    first.drop()
    assert budget.has_room(18)
    assert not budget.has_room(19)
