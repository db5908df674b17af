"""When frames leave, and what is told of the buffer, in a time that passes at once."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from server.animation.stages import Work
from server.audio.clock import Clock
from server.audio.pcm import AudioFormat
from server.audio.timeline import AudioBudget
from server.metrics import Metrics
from server.notices import Notice
from server.sessions.announcing import NEVER, Announcer
from server.sessions.events import (
    BufferState,
    Event,
    Frame,
    Interrupted,
    UtteranceBegan,
    UtteranceEnded,
)
from server.sessions.outbox import Outbox
from server.sessions.pacer import AT_ONCE, Pace, Pacer
from server.sessions.playback import Playback
from server.sessions.report import Report
from server.sessions.resumption import Resumable
from server.sessions.speech import Speech
from tests.support import virtual_time
from tests.support.conversations import LIMITS

RATE = Fraction(25)
PICTURE = np.zeros((2, 2, 3), np.uint8)
REALTIME = Pace(is_realtime=True, buffer_s=1, is_told=True)
CAPACITY = 33
UNDERRUNS = "echomimic_underruns_total"


@dataclass(frozen=True)
class Told:
    at_s: float
    event: Event


class Scene:
    """An outbox, what draws into it, and what was taken from it and when."""

    def __init__(self, pace: Pace) -> None:
        self.now = asyncio.get_running_loop().time
        self.report = Report(16_000, self.now, RATE)
        self.starving = False
        self.metrics = Metrics("", "")
        pacer = Pacer(pace, self.report, lambda: self.starving, self.metrics)
        self.outbox = Outbox(
            CAPACITY, pacer, Playback(Clock(16_000, RATE)), Announcer(NEVER, self.report)
        )
        self.told: list[Told] = []
        self._utterances = 0

    def underruns(self, cause: str) -> float | None:
        """What operators are told."""
        return self.metrics.registry.get_sample_value(UNDERRUNS, {"cause": cause})

    def utterance(self) -> Speech:
        budget = AudioBudget(1)
        speech = Speech(
            self._utterances, AudioFormat("s16le", 16_000, 1), self.report, LIMITS, budget, RATE
        )
        self._utterances += 1
        return speech

    async def draw(self, speech: Speech, frames: int, *, begin: int = 0) -> None:
        for number in range(begin, begin + frames):
            await self.outbox.picture(speech, number, PICTURE)

    async def draw_at(self, speech: Speech, frames: int, speed: float, window: int = 5) -> None:
        """Draws a window at a time, at a multiple of real time."""
        for begin in range(0, frames, window):
            await asyncio.sleep(window / 25 / speed)
            work = Work(window, window / 25 / speed, window / 25 / speed)
            self.report.clip_made(window, work)
            await self.draw(speech, min(window, frames - begin), begin=begin)
        self.outbox.ended(speech)

    async def take(self) -> None:
        async for event in self.outbox.events():
            self.told.append(Told(self.now(), event))

    def frames(self) -> list[float]:
        """When each frame left."""
        return [told.at_s for told in self.told if isinstance(told.event, Frame)]

    def states(self) -> list[Told]:
        return [told for told in self.told if isinstance(told.event, BufferState)]

    def warnings(self) -> list[Told]:
        return [told for told in self.told if isinstance(told.event, Notice)]


def play(pace: Pace, plot: Callable[[Scene], Coroutine[Any, Any, None]]) -> Scene:
    """Takes all that leaves while something is drawn, to the end."""

    async def main() -> Scene:
        scene = Scene(pace)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(scene.take())
            await plot(scene)
            scene.outbox.end()
        return scene

    return virtual_time.run(main())


def test_frames_leave_as_they_are_made_unless_real_time_is_asked_for() -> None:
    async def plot(scene: Scene) -> None:
        await scene.draw_at(scene.utterance(), 50, speed=10)

    scene = play(AT_ONCE, plot)
    assert scene.frames() == pytest.approx([0.02 * (1 + n // 5) for n in range(50)])
    assert {type(told.event) for told in scene.told} == {UtteranceBegan, Frame, UtteranceEnded}


def test_in_real_time_frames_leave_at_their_times_once_the_buffer_has_filled() -> None:
    async def plot(scene: Scene) -> None:
        await scene.draw_at(scene.utterance(), 100, speed=10)

    scene = play(REALTIME, plot)
    # 25 frames take 0.1 s.
    assert scene.frames() == pytest.approx([0.1 + n / 25 for n in range(100)])
    assert scene.report.underruns == 0


@pytest.mark.parametrize("pace", [AT_ONCE, REALTIME])
def test_slack_is_what_playback_can_go_on_for(pace: Pace) -> None:
    seen: list[float] = []

    async def plot(scene: Scene) -> None:
        speech = scene.utterance()
        seen.append(scene.outbox.slack_s)
        await scene.draw(speech, 24)
        # Before a buffer has filled nothing is played, and somebody waits.
        seen.append(scene.outbox.slack_s)
        await scene.draw(speech, 2, begin=24)
        seen.append(scene.outbox.slack_s)
        await asyncio.sleep(0.5)
        seen.append(scene.outbox.slack_s)
        await asyncio.sleep(2)
        seen.append(scene.outbox.slack_s)

    play(pace, plot)
    assert seen == pytest.approx([0, 0.96 if pace is AT_ONCE else 0, 1.04, 0.54, 0])


def test_a_short_utterance_leaves_once_it_is_whole() -> None:
    async def plot(scene: Scene) -> None:
        await scene.draw_at(scene.utterance(), 10, speed=1)

    assert play(REALTIME, plot).frames() == pytest.approx([0.4 + n / 25 for n in range(10)])


def test_utterances_that_are_there_in_time_follow_each_other_without_a_pause() -> None:
    async def plot(scene: Scene) -> None:
        for _ in range(3):
            await scene.draw_at(scene.utterance(), 10, speed=10)

    scene = play(REALTIME, plot)
    assert scene.frames() == pytest.approx([0.04 + n / 25 for n in range(30)])


def test_a_server_too_slow_is_said_once_and_each_frame_comes_all_the_same() -> None:
    async def plot(scene: Scene) -> None:
        await scene.draw_at(scene.utterance(), 250, speed=0.48)

    scene = play(REALTIME, plot)
    frames = [told.event for told in scene.told if isinstance(told.event, Frame)]
    assert [frame.index for frame in frames] == list(range(250))
    left = np.array(scene.frames())
    gaps = np.flatnonzero(np.diff(left) > 0.041)
    assert scene.report.underruns == len(gaps) > 3
    assert [scene.underruns(cause) for cause in ("server", "client")] == [len(gaps), 0]
    # The buffer fills again, by 25 frames or what is left of the utterance.
    window_s = 5 / 25 / 0.48
    assert left[gaps + 1] == pytest.approx(np.minimum(gaps + 1 + 25, 250) / 5 * window_s)
    (warning,) = scene.warnings()
    assert warning.at_s == pytest.approx(left[gaps[0]] + 0.04)
    assert warning.event == Notice(
        "BEHIND_REALTIME",
        "frames are made at 0.48 x real time, slower than they are played: whenever none is left, "
        "playback waits until 1 s are made again, and no frame is dropped; ask for fewer steps, a "
        "smaller size or TeaCache",
    )


def test_after_ten_seconds_without_an_underrun_the_next_is_said_again() -> None:
    async def plot(scene: Scene) -> None:
        speech = scene.utterance()
        await scene.draw(speech, 25)
        await asyncio.sleep(2)
        # 33 at a time: as many as may wait.
        for begin in range(25, 25 + 8 * 33, 33):
            await scene.draw(speech, 33, begin=begin)
        await asyncio.sleep(3)

    scene = play(REALTIME, plot)
    assert scene.report.underruns == 2
    assert len(scene.warnings()) == 2


def test_where_speech_is_missing_an_underrun_is_counted_as_the_clients() -> None:
    async def plot(scene: Scene) -> None:
        scene.starving = True
        await scene.draw(scene.utterance(), 25)
        await asyncio.sleep(2)

    scene = play(REALTIME, plot)
    assert scene.report.underruns == 1
    assert scene.warnings() == []
    assert [scene.underruns(cause) for cause in ("server", "client")] == [0, 1]


def test_the_buffer_is_told_about_once_a_second_while_it_changes() -> None:
    async def plot(scene: Scene) -> None:
        await scene.draw_at(scene.utterance(), 100, speed=10)
        await asyncio.sleep(60)

    told = play(REALTIME, plot).states()
    assert [round(at.at_s, 6) for at in told] == [0.02, 1.02, 2.02, 3.02, 4.02, 5.02][: len(told)]
    first, second, last = told[0].event, told[1].event, told[-1].event
    assert isinstance(first, BufferState)
    assert isinstance(second, BufferState)
    assert first.is_filling
    assert not second.is_filling
    # As much as may wait to leave, or a frame less.
    assert second.level_s == pytest.approx(33 / 25, abs=0.05)
    assert second.realtime_factor == pytest.approx(10)
    assert last == BufferState(0.0, False, 0, second.realtime_factor)


def test_an_underrun_is_told_at_once() -> None:
    async def plot(scene: Scene) -> None:
        await scene.draw(scene.utterance(), 25)
        await asyncio.sleep(2)

    states = play(REALTIME, plot).states()
    (told,) = (of for of in states if of.event == BufferState(0.0, True, 1, 0.0))
    assert told.at_s == pytest.approx(1)


def test_at_any_other_pace_the_buffer_is_that_of_a_player() -> None:
    async def plot(scene: Scene) -> None:
        await scene.draw_at(scene.utterance(), 100, speed=0.48)

    scene = play(Pace(buffer_s=1, is_told=True), plot)
    window_s = 5 / 25 / 0.48
    assert scene.frames() == pytest.approx([(1 + n // 5) * window_s for n in range(100)])
    assert scene.report.underruns == 2
    assert len(scene.warnings()) == 1


@pytest.mark.parametrize(("pace", "counted"), [(Pace(buffer_s=1), 2), (AT_ONCE, 0)])
def test_operators_are_told_of_underruns_that_the_client_did_not_ask_about(
    pace: Pace, counted: int
) -> None:
    async def plot(scene: Scene) -> None:
        await scene.draw_at(scene.utterance(), 100, speed=0.48)

    scene = play(pace, plot)
    assert [scene.underruns(cause) for cause in ("server", "client")] == [counted, 0]
    # The client is told as if nobody had looked.
    assert scene.report.underruns == 0
    assert scene.states() == []
    assert scene.warnings() == []


def test_an_interruption_empties_the_buffer_at_once() -> None:
    async def plot(scene: Scene) -> None:
        await scene.draw(scene.utterance(), 30)
        await asyncio.sleep(0.41)
        scene.outbox.interrupt(Resumable(0, 0))
        await asyncio.sleep(5)
        await scene.draw(scene.utterance(), 25)

    scene = play(REALTIME, plot)
    assert scene.frames() == pytest.approx(
        [n / 25 for n in range(11)] + [5.41 + n / 25 for n in range(25)]
    )
    (answered,) = (told for told in scene.told if isinstance(told.event, Interrupted))
    assert answered.at_s == pytest.approx(0.41)
    assert scene.report.underruns == 0


def test_an_interruption_while_the_buffer_fills_leaves_nothing_to_play() -> None:
    async def plot(scene: Scene) -> None:
        await scene.draw(scene.utterance(), 20)
        await asyncio.sleep(0.1)
        scene.outbox.interrupt(Resumable(0, 0))
        await asyncio.sleep(5)

    scene = play(REALTIME, plot)
    assert scene.frames() == []
    assert scene.report.underruns == 0


def test_a_client_that_reads_late_gets_every_frame_and_no_warning() -> None:
    async def main() -> Scene:
        scene = Scene(REALTIME)
        async with asyncio.TaskGroup() as tasks:

            async def read() -> None:
                async for event in scene.outbox.events():
                    scene.told.append(Told(scene.now(), event))
                    if isinstance(event, Frame) and event.index == 10:
                        await asyncio.sleep(30)

            tasks.create_task(read())
            speech = scene.utterance()
            await scene.draw(speech, 100)
            scene.outbox.ended(speech)
            scene.outbox.end()
        return scene

    scene = virtual_time.run(main())
    assert len(scene.frames()) == 100
    assert scene.warnings() == []
