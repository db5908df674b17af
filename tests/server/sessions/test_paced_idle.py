"""Frames at the realtime pace with idle frames between them, in a time that passes at once."""

import asyncio
from collections.abc import Callable, Coroutine
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from server.animation.stages import Work
from server.audio.clock import Clock
from server.audio.pcm import AudioFormat
from server.audio.timeline import AudioBudget
from server.notices import Notice
from server.pictures.portrait import Picture
from server.sessions.announcing import NEVER, Announcer
from server.sessions.events import (
    BufferState,
    Event,
    Frame,
    Interrupted,
    UtteranceBegan,
    UtteranceEnded,
)
from server.sessions.idle import Coming, Idle
from server.sessions.outbox import Outbox
from server.sessions.pacer import Pace, Pacer
from server.sessions.playback import Playback
from server.sessions.report import Report
from server.sessions.resumption import Resumable
from server.sessions.speech import Speech
from tests.support import virtual_time
from tests.support.conversations import FRAME, LIMITS
from tests.support.conversations import RATE as SAMPLE_RATE

PICTURE = np.zeros((2, 2, 3), np.uint8)
PACE = Pace(is_realtime=True, buffer_s=1, is_told=True)
RATES = [Fraction(25), Fraction(15), Fraction(30_000, 1001)]
CAPACITY = 33


class Portrait:
    """A life of one picture."""

    is_ready = True

    async def picture(
        self, at_s: float, since_s: float, *, resting: bool, listening: bool
    ) -> Picture:
        return PICTURE


class Scene:
    """An outbox with idle frames, what draws into it, and what was taken from it and when."""

    def __init__(self, rate: Fraction) -> None:
        self.now = asyncio.get_running_loop().time
        self.rate = rate
        self.report = Report(SAMPLE_RATE, self.now, rate)
        self.idle = Idle(Portrait(), rate, self.now, self._coming, is_paced=True)
        pacer = Pacer(PACE, self.report, lambda: self.starving)
        playback = Playback(Clock(SAMPLE_RATE, rate))
        announcer = Announcer(NEVER, self.report)
        self.outbox = Outbox(CAPACITY, pacer, playback, announcer, self.idle)
        self.starving = False
        self.told: list[tuple[float, Event]] = []
        self._utterances = 0

    def _coming(self) -> Coming:
        return Coming(self._utterances, is_said=False)

    async def say(self, frames: int, speed: float = 10, *, ends: bool = True) -> None:
        """Draws an utterance of so many frames, five at a time, at a multiple of real time."""
        audio = AudioFormat("s16le", SAMPLE_RATE, 1)
        budget = AudioBudget(60 * SAMPLE_RATE)
        speech = Speech(self._utterances, audio, self.report, LIMITS, budget, self.rate)
        self._utterances += 1
        samples = Clock(SAMPLE_RATE, self.rate).first_sample(frames)
        await speech.push(bytes(2 * samples), field="audio")
        for first in range(0, frames, 5):
            took_s = float(5 / self.rate) / speed
            await asyncio.sleep(took_s)
            self.report.clip_made(5, Work(5, took_s, took_s))
            for number in range(first, min(first + 5, frames)):
                await self.outbox.picture(speech, number, PICTURE)
        if ends:
            self.outbox.ended(speech)

    async def take(self) -> None:
        async for event in self.outbox.events():
            self.told.append((self.now(), event))

    def of(self, kind: type[Event]) -> list[tuple[float, Any]]:
        """What was told of a kind, and when."""
        return [(at_s, event) for at_s, event in self.told if isinstance(event, kind)]

    @property
    def frames(self) -> list[tuple[float, Frame]]:
        return self.of(Frame)

    def kinds(self) -> str:
        """One letter for each frame: i for idle, or the number of the utterance."""
        return "".join("i" if f.is_idle else str(f.utterance_id) for _, f in self.frames)

    def gaps(self) -> list[float]:
        """What passed between frames, in frames."""
        times_s = [at_s for at_s, _ in self.frames]
        return [float((b - a) * self.rate) for a, b in pairwise(times_s)]


def play(plot: Callable[[Scene], Coroutine[Any, Any, None]], rate: Fraction = RATES[0]) -> Scene:
    async def main() -> Scene:
        scene = Scene(rate)
        async with asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(scene.take())
            await plot(scene)
            taking.cancel()
        return scene

    scene = virtual_time.run(main())
    assert [frame.index for _, frame in scene.frames] == list(range(len(scene.frames)))
    return scene


@pytest.mark.parametrize("rate", RATES)
def test_frames_follow_each_other_at_their_rate_over_both_borders(rate: Fraction) -> None:
    async def plot(scene: Scene) -> None:
        await asyncio.sleep(1)
        await scene.say(60)
        await asyncio.sleep(8)

    scene = play(plot, rate)
    before, after = scene.kinds().split("0" * 60)
    assert set(before) == set(after) == {"i"}
    # The buffer is full as many frames after 1 s as it takes to make it.
    full_s = 1 + -(-float(rate) // 5) * float(5 / rate) / 10
    assert len(before) == pytest.approx(full_s * float(rate), abs=1)
    gaps = np.array(scene.gaps())
    # Speech takes the place of the idle frame after the one that left last, or comes before it.
    border = len(before) - 1
    assert 0 < gaps[border] <= 1 + 1e-6
    assert np.delete(gaps, border) == pytest.approx(1, abs=1e-6)


def test_samples_and_marks_are_those_of_the_speech() -> None:
    async def plot(scene: Scene) -> None:
        for _ in range(2):
            await asyncio.sleep(1)
            await scene.say(30)
            await asyncio.sleep(3)

    scene = play(plot)
    spoken = [frame for _, frame in scene.frames if not frame.is_idle]
    assert [frame.audio_sample for frame in spoken] == [n * FRAME for n in range(60)]
    idle = [frame for _, frame in scene.frames if frame.is_idle]
    assert {(frame.utterance_id, frame.audio_sample) for frame in idle} == {
        (0, 0),
        (1, 0),
        (1, 30 * FRAME),
        (2, 30 * FRAME),
        (2, 60 * FRAME),
    }
    for utterance in range(2):
        own = [frame for frame in spoken if frame.utterance_id == utterance]
        first = 30 * utterance * FRAME
        assert scene.of(UtteranceBegan)[utterance][1] == UtteranceBegan(
            utterance, own[0].index, first
        )
        assert scene.of(UtteranceEnded)[utterance][1] == UtteranceEnded(
            utterance, own[-1].index, first + 30 * FRAME
        )


@pytest.mark.parametrize("rate", RATES)
def test_utterances_that_are_there_in_time_have_no_idle_frame_between_them(rate: Fraction) -> None:
    async def plot(scene: Scene) -> None:
        await asyncio.sleep(0.5)
        for _ in range(4):
            await scene.say(30)
        await asyncio.sleep(10)

    scene = play(plot, rate)
    assert "0" * 30 + "1" * 30 + "2" * 30 + "3" * 30 in scene.kinds()
    begins = scene.kinds().index("0")
    assert scene.gaps()[begins:] == pytest.approx([1] * (len(scene.gaps()) - begins))


def test_inside_an_utterance_that_comes_too_slowly_there_are_no_idle_frames() -> None:
    async def plot(scene: Scene) -> None:
        await asyncio.sleep(1)
        await scene.say(100, speed=0.48)
        await asyncio.sleep(5)

    scene = play(plot)
    assert "0" * 100 in scene.kinds()
    assert scene.report.underruns > 0
    late = [gap for gap in scene.gaps() if gap > 1.01]
    assert len(late) == scene.report.underruns
    (warned,) = scene.of(Notice)
    assert warned[1].reason == "BEHIND_REALTIME"
    # Nothing is caught up with: what follows goes on at its rate.
    ended = scene.kinds().rindex("0")
    assert scene.gaps()[ended:] == pytest.approx([1] * (len(scene.gaps()) - ended))


def test_life_goes_on_while_the_buffer_of_slow_speech_fills() -> None:
    async def plot(scene: Scene) -> None:
        await asyncio.sleep(1)
        await scene.say(50, speed=0.5)
        await asyncio.sleep(3)

    scene = play(plot)
    # One second of frames takes two.
    first_s = next(at_s for at_s, frame in scene.frames if not frame.is_idle)
    assert first_s == pytest.approx(3)
    begins = scene.kinds().index("0")
    assert scene.gaps()[: begins - 1] == pytest.approx([1] * (begins - 1))


def test_the_buffer_is_told_about_while_it_changes_and_not_while_nobody_speaks() -> None:
    async def plot(scene: Scene) -> None:
        await asyncio.sleep(10)
        await scene.say(75)
        await asyncio.sleep(60)

    scene = play(plot)
    states = scene.of(BufferState)
    times_s = [at_s for at_s, _ in states]
    assert times_s[0] >= 10
    assert min(np.diff(times_s)) >= 1 - 1e-6
    # Three seconds are played from 10.1 s on; by then it is empty.
    assert times_s[-1] < 15
    levels = [state.level_s for _, state in states]
    assert levels[-1] == 0
    assert max(levels) == pytest.approx(CAPACITY / 25, abs=0.05)
    assert [state.is_filling for _, state in states][1:] == [False] * (len(states) - 1)
    assert scene.report.underruns == 0


def test_an_underrun_is_told_at_once_and_what_is_idle_after_it_is_none() -> None:
    async def plot(scene: Scene) -> None:
        await asyncio.sleep(1)
        await scene.say(25, ends=False)
        await asyncio.sleep(5)

    scene = play(plot)
    ran_dry = [(at_s, state) for at_s, state in scene.of(BufferState) if state.underruns]
    assert len(ran_dry) == 1
    last_s = max(at_s for at_s, frame in scene.frames)
    assert ran_dry[0][0] == pytest.approx(last_s + 0.04)
    # The utterance is not over: nothing else is shown in it.
    assert scene.kinds().endswith("0" * 25)


def test_after_an_interruption_the_next_frame_is_idle_and_due_at_once() -> None:
    interrupted_s: list[float] = []

    async def plot(scene: Scene) -> None:
        await asyncio.sleep(1)
        await scene.say(30)
        await asyncio.sleep(0.5)
        interrupted_s.append(scene.now())
        scene.outbox.interrupt(Resumable(0, 0))
        await asyncio.sleep(1)
        await scene.say(30)
        await asyncio.sleep(3)

    scene = play(plot)
    (answered_s, answer) = scene.of(Interrupted)[0]
    assert answered_s == interrupted_s[0]
    played = scene.kinds().count("0")
    assert 0 < played < 30
    last = scene.kinds().rindex("0")
    assert answer == Interrupted(last, played * FRAME, last, 0, 0)
    idle = [at_s for at_s, frame in scene.frames[last + 1 :]][:20]
    assert idle == pytest.approx([answered_s + n / 25 for n in range(20)])
    assert {frame.audio_sample for _, frame in scene.frames[last + 1 :][:20]} == {played * FRAME}
    # What is said next fills the buffer anew, and comes whole.
    assert "i" + "1" * 30 + "i" in scene.kinds()
    assert scene.report.underruns == 0


def test_what_is_dropped_while_the_buffer_fills_was_never_shown() -> None:
    async def plot(scene: Scene) -> None:
        await asyncio.sleep(1)
        await scene.say(20, ends=False)
        scene.outbox.interrupt(Resumable(0, 0))
        await asyncio.sleep(5)

    scene = play(plot)
    assert set(scene.kinds()) == {"i"}
    assert scene.of(UtteranceBegan) == []
    assert scene.of(Interrupted)[0][1].next_audio_sample == 0
    assert scene.report.underruns == 0
    assert max(scene.gaps()) <= 1 + 1e-6


def test_a_client_that_reads_late_is_sent_no_heap_of_idle_frames() -> None:
    async def main() -> Scene:
        scene = Scene(RATES[0])

        async def read() -> None:
            async for event in scene.outbox.events():
                scene.told.append((scene.now(), event))
                if isinstance(event, Frame) and event.index in (10, 60):
                    await asyncio.sleep(5)

        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(read())
            await asyncio.sleep(8)
            await scene.say(60)
            await asyncio.sleep(20)
            reading.cancel()
        return scene

    scene = virtual_time.run(main())
    assert scene.kinds().count("0") == 60
    idle = [at_s for at_s, frame in scene.frames if frame.is_idle]
    assert min(np.diff(idle)) == pytest.approx(0.04)
