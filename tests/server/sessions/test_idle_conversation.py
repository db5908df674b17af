"""Conversations in which nobody speaks for a while, in a time that passes at once."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.manifest import NetworkEntry
from server.pictures.portrait import Picture
from server.sessions.conversation import Conversation, converse
from server.sessions.events import (
    Event,
    Frame,
    Interrupted,
    Updated,
    UtteranceBegan,
    UtteranceEnded,
)
from server.sessions.gateway import Gateway
from server.sessions.jobs import IdleMode, Job, Offer
from server.sessions.pacer import Pace
from server.sessions.retiming import Retiming
from server.triton.contract import PORTRAIT_NETWORKS, Network
from tests.support import virtual_time
from tests.support.conversations import FRAME, LIMITS, RATE, job
from tests.support.fake_engine import FakeEngine
from tests.support.onnx_engine import OnnxEngine
from tests.support.paths import ROOT
from tests.support.pipeline_reference import Recorder
from tests.support.serving import manifest, portrait, small_windows, speech, tokenizer

REPOSITORY = ROOT / "export" / "demo" / "model_repository"
PHOTOGRAPH = (ROOT / "docs" / "media" / "photograph.jpg").read_bytes()
SIZE = 256


class SeeingEngine(FakeEngine):
    """A fake one that really finds faces."""

    _eyes = OnnxEngine(REPOSITORY)

    async def run(self, network: Network, inputs: Any, *args: Any, **more: Any) -> Any:
        if network.name in PORTRAIT_NETWORKS:
            return await self._eyes.run(network, inputs, *args, **more)
        return await super().run(network, inputs, *args, **more)


@dataclass
class Scene:
    """A conversation and what has been taken of it: events, and when."""

    conversation: Conversation
    events: AsyncIterator[Event]
    told: list[tuple[float, Event]]

    async def take(self, frames: int) -> list[Frame]:
        """Takes events up to some more frames."""
        begin = len(self.told)
        while sum(isinstance(event, Frame) for _, event in self.told[begin:]) < frames:
            event = await anext(self.events)
            self.told.append((asyncio.get_running_loop().time(), event))
        return [event for _, event in self.told[begin:] if isinstance(event, Frame)]

    @property
    def times_s(self) -> list[float]:
        """When the frames left."""
        return [at_s for at_s, event in self.told if isinstance(event, Frame)]

    async def say(self, frames: int) -> None:
        audio = speech(frames * FRAME).tobytes()
        await self.conversation.push_audio(audio, field="audio")
        await self.conversation.end_utterance()


@asynccontextmanager
async def scene(
    folder: Path, idle: IdleMode, engine: Any = None, **changes: Any
) -> AsyncIterator[Scene]:
    now = asyncio.get_running_loop().time
    networks = {name: NetworkEntry(backend="fake", precision="fp32") for name in PORTRAIT_NETWORKS}
    offered = manifest().model_copy(update={"networks": networks, "sizes": ((SIZE, SIZE),)})
    gateway = Gateway(Offer(small_windows(), offered), engine or SeeingEngine(), tokenizer(folder))
    form = replace(job().video_format, width=SIZE, height=SIZE)
    asked: Job = job(**{"idle": idle, "portrait": PHOTOGRAPH, "video_format": form, **changes})
    limits = replace(LIMITS, resumable_s=10.0)
    async with converse(gateway, asked, limits, now) as conversation:
        yield Scene(conversation, conversation.events(), [])


def run(main: Coroutine[Any, Any, None]) -> None:
    virtual_time.run(main)


MODES: list[IdleMode] = ["warp", "model"]


@pytest.mark.parametrize("mode", MODES)
def test_frames_go_on_at_their_rate_before_anything_is_said(tmp_path: Path, mode: IdleMode) -> None:
    async def main() -> None:
        async with scene(tmp_path, mode) as room:
            frames = await room.take(30)
            assert [frame.index for frame in frames] == list(range(30))
            assert all(f.is_idle and (f.utterance_id, f.audio_sample) == (0, 0) for f in frames)
            assert room.times_s == pytest.approx([n / 25 for n in range(30)])

    run(main())


def test_nothing_is_sent_where_nothing_is_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, "still") as room:
            await room.say(3)
            assert [frame.is_idle for frame in await room.take(3)] == [False] * 3
            assert isinstance(await anext(room.events), UtteranceEnded)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(100):
                    await anext(room.events)

    run(main())


@pytest.mark.parametrize("mode", MODES)
def test_speech_takes_the_next_frame_and_idle_frames_come_when_it_is_over(
    tmp_path: Path, mode: IdleMode
) -> None:
    async def main() -> None:
        async with scene(tmp_path, mode) as room:
            await room.take(10)
            await room.say(20)
            frames = await room.take(40)
            spoken = [frame for frame in frames if not frame.is_idle]
            first = spoken[0].index
            assert [frame.index for frame in frames] == list(range(10, 50))
            assert [frame.index for frame in spoken] == list(range(first, first + 20))
            assert [frame.audio_sample for frame in spoken] == [n * FRAME for n in range(20)]
            after = [frame for frame in frames if frame.index >= first + 20]
            assert {(f.utterance_id, f.audio_sample) for f in after} == {(1, 20 * FRAME)}
            # Speech came at once; what follows is due when it has been played.
            assert room.times_s[first + 19] == pytest.approx(first / 25, abs=0.05)
            assert room.times_s[first + 20 :] == pytest.approx(
                [n / 25 for n in range(first + 20, 50)]
            )
            marks = [e for _, e in room.told if isinstance(e, UtteranceBegan | UtteranceEnded)]
            assert marks == [UtteranceBegan(0, first, 0), UtteranceEnded(0, first + 19, 20 * FRAME)]

    run(main())


def test_idle_frames_go_on_until_the_first_frame_of_slow_speech(tmp_path: Path) -> None:
    async def main() -> None:
        engine = SeeingEngine()
        async with scene(tmp_path, "warp", engine) as room:
            await room.take(10)
            engine.delay_s = 0.1
            await room.say(20)
            frames = await room.take(40)
            waited = next(n for n, frame in enumerate(frames) if not frame.is_idle)
            assert waited >= 8
            assert {frame.utterance_id for frame in frames[:waited]} == {0}
            gaps = np.diff(room.times_s[: 10 + waited])
            assert gaps == pytest.approx(0.04)
            # Inside an utterance there are none, however long its frames take.
            assert not any(frame.is_idle for frame in frames[waited : waited + 20])

    run(main())


def moved(frames: list[Frame]) -> np.ndarray:
    """By how many levels each frame differs from the one before, as a mean over the picture."""
    pictures = [frame.picture.astype(np.int16) for frame in frames]
    return np.array([np.abs(b - a).mean() for a, b in pairwise(pictures)])


def test_a_face_listens_while_the_other_talks_and_no_frame_jumps(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, "warp") as room:
            idle = moved(await room.take(500))
        async with scene(tmp_path, "warp") as room:
            before = await room.take(100)
            room.conversation.listening(True)
            listening = await room.take(300)
            room.conversation.listening(False)
            after = await room.take(100)
            assert not any(frame.is_listening for frame in [*before, *after])
            assert all(frame.is_idle and frame.is_listening for frame in listening)
            steps = moved([*before, *listening, *after])
            assert steps.max() <= idle.max()
            # Somebody is alive.
            assert (steps[100:400] > 0).mean() > 0.9

    run(main())


@pytest.mark.parametrize("mode", MODES)
def test_speech_goes_before_listening_which_goes_on_after_it(
    tmp_path: Path, mode: IdleMode
) -> None:
    async def main() -> None:
        async with scene(tmp_path, mode) as room:
            room.conversation.listening(True)
            await room.take(5)
            await room.say(10)
            frames = await room.take(60)
            spoken = [frame for frame in frames if not frame.is_idle]
            assert len(spoken) == 10
            assert not any(frame.is_listening for frame in spoken)
            assert all(frame.is_listening for frame in frames if frame.is_idle)
            room.conversation.interrupt()
            assert all(frame.is_listening for frame in await room.take(5))

    run(main())


@pytest.mark.parametrize("mode", MODES)
def test_what_is_resumed_comes_after_idle_frames_in_its_own_place(
    tmp_path: Path, mode: IdleMode
) -> None:
    async def main() -> None:
        async with scene(tmp_path, mode) as room:
            await room.take(5)
            await room.say(20)
            while (frames := await room.take(1))[0].audio_sample < 9 * FRAME:
                pass
            room.conversation.played(frames[0].index - 4, field="played")
            room.conversation.interrupt()
            frames = await room.take(30)
            assert all(frame.is_idle for frame in frames)
            await room.conversation.resume(field="resume")
            frames += await room.take(40)
            spoken = [frame for frame in frames if not frame.is_idle]
            begins = 6 * FRAME
            assert [frame.audio_sample for frame in spoken] == list(
                range(begins, 20 * FRAME, FRAME)
            )
            assert all(b.index == a.index + 1 for a, b in pairwise(frames))

    run(main())


def test_frames_that_were_not_taken_are_not_made_up_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, "warp") as room:
            await room.take(3)
            await asyncio.sleep(5)
            await room.take(4)
            late_s = room.times_s[3]
            assert late_s == pytest.approx(5.08)
            assert room.times_s[3:] == pytest.approx([late_s + n / 25 for n in range(4)])
            assert room.conversation.report.frames == 0

    run(main())


@pytest.mark.parametrize("mode", MODES)
def test_after_an_interruption_life_goes_on_at_once(tmp_path: Path, mode: IdleMode) -> None:
    async def main() -> None:
        async with scene(tmp_path, mode) as room:
            await room.take(5)
            await room.say(50)
            while (await room.take(1))[0].is_idle:
                pass
            await room.take(9)
            last = len(room.times_s) - 1
            interrupted_s = asyncio.get_running_loop().time()
            room.conversation.interrupt()
            frames = await room.take(5)
            answer = Interrupted(last, 10 * FRAME, last, 10 * FRAME, 40 * FRAME)
            assert answer in [event for _, event in room.told]
            assert all(frame.is_idle for frame in frames)
            assert [frame.index for frame in frames] == list(range(last + 1, last + 6))
            assert {(f.utterance_id, f.audio_sample) for f in frames} == {(1, 10 * FRAME)}
            assert room.times_s[last + 1 :] == pytest.approx(
                [interrupted_s + n / 25 for n in range(5)], abs=0.01
            )

    run(main())


@pytest.mark.parametrize("mode", MODES)
def test_the_end_ends_it(tmp_path: Path, mode: IdleMode) -> None:
    async def main() -> None:
        async with scene(tmp_path, mode) as room:
            await room.take(5)
            await room.conversation.end()
            assert [event async for event in room.events] == []
            assert not room.conversation.is_working

    run(main())


def test_other_rates_have_their_own_times(tmp_path: Path) -> None:
    async def main() -> None:
        retiming = Retiming(Fraction(15))
        form = replace(job().video_format, width=SIZE, height=SIZE, retiming=retiming)
        for mode in MODES:
            async with scene(tmp_path, mode, video_format=form) as room:
                began_s = asyncio.get_running_loop().time()
                await room.take(20)
                assert room.times_s == pytest.approx([began_s + n / 15 for n in range(20)])

    run(main())


def test_life_goes_on_while_the_buffer_of_a_paced_stream_fills(tmp_path: Path) -> None:
    async def main() -> None:
        pace = Pace(is_realtime=True, buffer_s=1.0, is_told=False)
        engine = SeeingEngine()
        engine.delay_s = 0.01
        async with scene(tmp_path, "warp", engine, pace=pace) as room:
            await room.take(5)
            await room.say(60)
            await room.take(100)
            gaps = np.diff(room.times_s)
            assert gaps.max() < 0.0801
            assert [event.is_idle for _, event in room.told if isinstance(event, Frame)].count(
                False
            ) == 60

    run(main())


def test_an_update_tells_no_frame_before_the_one_that_shows_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, "warp") as room:
            await room.take(5)
            room.conversation.update("a", {"steps": 3}, field="update")
            await room.take(10)
            (updated,) = (event for _, event in room.told if isinstance(event, Updated))
            assert updated.frame_index >= 5
            await room.say(5)
            frames = await room.take(12)
            begins = next(frame.index for frame in frames if not frame.is_idle)
            assert updated.frame_index <= begins

    run(main())


def difference(one: Picture, other: Picture) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def test_a_warp_begins_and_ends_at_the_portrait_which_speech_then_begins_with(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        engine = Recorder(SeeingEngine())
        async with scene(tmp_path, "warp", engine, continues=True) as room:
            first, *others = await room.take(60)
            assert difference(first.picture, others[-1].picture) > 0.1
            await room.say(9)
            await room.take(20)
            await room.say(9)
            await room.take(20)
            begins = [k for k in engine.given("vae_encoder", "known") if k.shape[1] == 1]
            assert all(np.array_equal(known[0, 0], first.picture) for known in begins)

    run(main())


def test_silence_begins_with_the_last_frame_where_frames_continue(tmp_path: Path) -> None:
    async def main() -> None:
        for continues in (False, True):
            engine = Recorder(SeeingEngine())
            async with scene(tmp_path, "model", engine, continues=continues) as room:
                await room.take(3)
                await room.say(9)
                frames = await room.take(30)
                spoken = [frame for frame in frames if not frame.is_idle]
                begins = [k for k in engine.given("vae_encoder", "known") if k.shape[1] == 1]
                assert np.array_equal(begins[-1][0, 0], spoken[-1].picture) == continues

    run(main())


def test_borders_are_faded_over(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, "warp") as room:
            still, *_ = await room.take(10)
            await room.say(12)
            frames = await room.take(60)
            steps = [
                difference(before.picture, after.picture) for before, after in pairwise(frames)
            ]
            begins = next(n for n, frame in enumerate(frames) if not frame.is_idle)
            # What the fake engine draws is nothing like the portrait.
            whole = difference(still.picture, frames[begins + 11].picture)
            assert max(steps[: begins + 3]) < whole / 4
            assert max(steps[begins + 11 :]) < whole / 10
            assert difference(frames[-1].picture, still.picture) < whole / 10

    run(main())


def test_a_picture_without_a_face_stands_and_that_is_said(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, "warp", portrait=portrait()) as room:
            assert "IDLE_FACE_NOT_FOUND" in [notice.reason for notice in room.conversation.notices]
            first, *others = await room.take(40)
            assert all(np.array_equal(frame.picture, first.picture) for frame in others)

    run(main())


def test_a_drawn_face_with_large_eyes_moves_its_head_alone_and_that_is_said(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        drawn = (ROOT / "docs" / "media" / "portrait.png").read_bytes()
        async with scene(tmp_path, "warp", portrait=drawn) as room:
            assert "IDLE_EYES_NOT_MOVED" in [notice.reason for notice in room.conversation.notices]
            first, *others = await room.take(30)
            assert not np.array_equal(first.picture, others[-1].picture)

    run(main())


def test_samples_and_frames_of_two_utterances_stay_together(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, "model") as room:
            for number in range(2):
                await room.take(7)
                await room.say(10)
                frames = [f for f in await room.take(25) if not f.is_idle]
                begins = number * 10 * FRAME
                assert [f.audio_sample for f in frames] == [begins + n * FRAME for n in range(10)]
                assert {frame.utterance_id for frame in frames} == {number}
            assert room.conversation.report.audio_samples == 20 * FRAME
            assert RATE == 25 * FRAME

    run(main())
