"""Fewer steps where a stream falls behind, more where there is room, and neither all the time."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from server.animation.stages import Stopwatch, Work
from server.sessions.conversation import Conversation, converse
from server.sessions.events import Event, Notice, Updated, UtteranceEnded
from server.sessions.gateway import Gateway
from server.sessions.jobs import Offer
from server.sessions.stepping import CALM_WINDOWS, Stepping
from tests.support.conversations import FRAME, LIMITS, job
from tests.support.fake_engine import FakeEngine
from tests.support.serving import manifest, small_windows, speech, tokenizer

WINDOW_S = 1.12


class Machine:
    """Makes windows whose steps take some time each, beside what they take without any."""

    def __init__(self, stepping: Stepping, asked: int) -> None:
        self.stepping = stepping
        self.asked = asked

    def windows(self, count: int, step_s: float, rest_s: float = 0.1) -> list[int]:
        """Returns the steps of some windows."""
        made: list[int] = []
        for _ in range(count):
            steps = self.stepping.steps
            made.append(steps)
            self.stepping.made(WINDOW_S, rest_s + steps * step_s, steps, steps, self.asked)
        return made


def test_steps_stay_where_frames_are_made_in_time() -> None:
    machine = Machine(Stepping(2, 8), 8)
    assert machine.windows(50, 0.12) == [8] * 50


def test_steps_are_lowered_until_frames_are_made_in_time_and_not_below_the_floor() -> None:
    machine = Machine(Stepping(2, 8), 8)
    steps = machine.windows(30, 0.2)
    assert steps[:2] == [8, 8]
    assert steps == sorted(steps, reverse=True)
    assert 0.1 + 0.2 * steps[-1] <= WINDOW_S
    assert steps[-1] == 4
    assert machine.windows(30, 10.0)[-1] == 2
    assert machine.stepping.steps == 2


def test_steps_come_back_one_by_one_where_there_is_room_and_then_stay() -> None:
    machine = Machine(Stepping(2, 8), 8)
    machine.windows(10, 0.5)
    steps = machine.windows(100, 0.01)
    rises = [n for n, (a, b) in enumerate(pairwise(steps)) if b > a]
    assert all(b - a >= CALM_WINDOWS for a, b in pairwise(rises))
    assert steps[-1] == 8
    assert set(machine.windows(50, 0.01)) == {8}


@pytest.mark.parametrize("step_s", [0.1, 0.13, 0.15, 0.2, 0.3])
def test_steps_do_not_go_up_and_down(step_s: float) -> None:
    machine = Machine(Stepping(1, 12), 12)
    steps = machine.windows(300, step_s)
    changes = sum(a != b for a, b in pairwise(steps))
    assert changes <= 3
    assert len(set(steps[50:])) == 1


def test_an_update_begins_anew_with_its_steps_and_old_windows_do_not_count() -> None:
    stepping = Stepping(2, 8)
    assert not stepping.made(WINDOW_S, 2.0, 8, 8, 8)
    assert stepping.made(WINDOW_S, 2.0, 8, 8, 8)
    lowered = stepping.steps
    # It had begun before.
    assert not stepping.made(WINDOW_S, 9.0, 8, lowered, 8)
    assert stepping.steps == lowered
    assert not stepping.made(WINDOW_S, 2.0, lowered, 12, 12)
    assert stepping.steps == 12


def test_two_updates_between_windows_begin_anew_too() -> None:
    stepping = Stepping(2, 8)
    for _ in range(2):
        stepping.made(WINDOW_S, 2.0, 8, 8, 8)
    assert stepping.steps < 8
    # To other steps, and to 8 again.
    assert not stepping.made(WINDOW_S, 2.0, 8, 8, 8)
    assert stepping.steps == 8
    assert stepping.made(WINDOW_S, 2.0, 8, 8, 8)


class Scripted(Stopwatch):
    """Says that a window took so long for each of its new frames, whatever it took."""

    seconds_of_a_frame = 0.0

    def finish(self, frames: int) -> Work:
        return replace(super().finish(frames), busy_s=frames * self.seconds_of_a_frame)


def steps_of(engine: FakeEngine) -> list[int]:
    """Returns how many steps each window was made with."""
    counts: list[int] = []
    for name in engine.executions:
        if name == "audio_encoder":
            counts.append(0)
        elif name == "denoiser":
            counts[-1] += 1
    return counts


async def test_windows_are_made_with_fewer_steps_and_with_more_again_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.animation.pipeline.Stopwatch", Scripted)
    engine = FakeEngine()
    gateway = Gateway(Offer(small_windows(), manifest()), engine, tokenizer(tmp_path))
    asked = job(min_steps=3, generation=replace(job().generation, steps=6))
    told: list[Event] = []

    async def say(conversation: Conversation, frames: int, seconds_of_a_frame: float) -> list[int]:
        """Returns the steps of the windows that some frames of speech take."""
        engine.executions.clear()
        Scripted.seconds_of_a_frame = seconds_of_a_frame
        await conversation.push_audio(speech(frames * FRAME).tobytes(), field="audio")
        await conversation.end_utterance()
        while not isinstance(event := await anext(events), UtteranceEnded):
            told.append(event)
        return steps_of(engine)

    async with converse(gateway, asked, LIMITS) as conversation:
        events = conversation.events()
        slow = await say(conversation, 70, 10.0)
        fast = await say(conversation, 300, 0.001)
        conversation.update("mine", {"steps": 4}, field="update")
        after = await say(conversation, 10, 0.001)
    assert (slow[0], slow[-1]) == (6, 3)
    assert slow == sorted(slow, reverse=True)
    assert (fast[0], fast[-1]) == (3, 6)
    assert fast == sorted(fast)
    assert set(after) == {4}
    notices = [event for event in told if isinstance(event, Notice)]
    reasons = [notice.reason for notice in notices]
    assert reasons == ["BEHIND_REALTIME", *["CAUGHT_UP"] * 3]
    assert "with 3 steps in place of 6" in notices[0].message
    (updated,) = [event for event in told if isinstance(event, Updated)]
    assert updated.generation.steps == 4


async def test_steps_stay_where_nobody_has_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.animation.pipeline.Stopwatch", Scripted)
    monkeypatch.setattr(Scripted, "seconds_of_a_frame", 10.0)
    engine = FakeEngine()
    gateway = Gateway(Offer(small_windows(), manifest()), engine, tokenizer(tmp_path))
    async with converse(gateway, job(), LIMITS) as conversation:
        await conversation.push_audio(speech(70 * FRAME).tobytes(), field="audio")
        await conversation.end()
        events = [event async for event in conversation.events()]
    assert set(steps_of(engine)) == {job().generation.steps}
    assert not [event for event in events if isinstance(event, Notice)]
