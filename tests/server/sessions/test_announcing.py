"""What a conversation says by itself, in a time that passes at once."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from server.sessions.announcing import Intervals
from server.sessions.conversation import Conversation, converse
from server.sessions.events import (
    AudioPosition,
    Event,
    Frame,
    Heartbeat,
    Interrupted,
    Pong,
)
from server.sessions.gateway import Gateway
from server.sessions.jobs import Offer
from server.sessions.pacer import Pace
from tests.support import virtual_time
from tests.support.conversations import FRAME, LIMITS, RATE, job
from tests.support.fake_engine import FakeEngine
from tests.support.serving import manifest, small_windows, speech, tokenizer


@dataclass
class Room:
    """A conversation, and what has been taken of it: events, and when."""

    conversation: Conversation
    told: list[tuple[float, Event]] = field(default_factory=list[tuple[float, Event]])

    async def listen(self) -> None:
        began_s = asyncio.get_running_loop().time()
        async for event in self.conversation.events():
            self.told.append((asyncio.get_running_loop().time() - began_s, event))

    async def say(self, samples: int) -> None:
        await self.conversation.push_audio(speech(samples).tobytes(), field="audio")

    def of(self, kind: type[Event]) -> list[tuple[float, Any]]:
        return [(at_s, event) for at_s, event in self.told if isinstance(event, kind)]


@asynccontextmanager
async def listening(folder: Path, intervals: Intervals, **changes: Any) -> AsyncIterator[Room]:
    now = asyncio.get_running_loop().time
    gateway = Gateway(Offer(small_windows(), manifest()), FakeEngine(), tokenizer(folder))
    asked = job(intervals=intervals, **changes)
    async with converse(gateway, asked, LIMITS, now) as conversation:
        room = Room(conversation)
        taking = asyncio.create_task(room.listen())
        yield room
        await conversation.end()
        await taking


def run(main: Coroutine[Any, Any, None]) -> None:
    virtual_time.run(main)


def test_positions_tell_what_was_received_and_what_was_animated(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path, Intervals(position_s=0.5)) as room:
            await asyncio.sleep(2)
            for _ in range(40):
                await room.say(RATE // 10)
                await asyncio.sleep(0.1)
            await room.conversation.end_utterance()
            await asyncio.sleep(2)
        positions = room.of(AudioPosition)
        moments_s = [at_s for at_s, _ in positions]
        assert all(b - a >= 0.5 - 1e-6 for a, b in pairwise(moments_s))
        # None before audio has come, and none when nothing changes any more.
        assert 2 <= moments_s[0] <= 2.5
        assert moments_s[-1] <= 7
        assert len(positions) in (9, 10)
        assert positions[-1][1] == AudioPosition(4 * RATE, 4 * RATE)
        frames = 0
        for _, event in room.told:
            frames += isinstance(event, Frame)
            if isinstance(event, AudioPosition):
                # Every frame of what is animated came before.
                assert event.animated_samples == frames * FRAME
                assert event.received_samples >= event.animated_samples

    run(main())


def test_what_was_interrupted_is_not_animated(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path, Intervals(position_s=0.2)) as room:
            await room.say(RATE)
            await asyncio.sleep(1)
            room.conversation.interrupt()
            await asyncio.sleep(1)
            await room.say(FRAME)
            await room.conversation.end_utterance()
            await asyncio.sleep(1)
        (interrupted,) = [event for _, event in room.of(Interrupted)]
        positions = [event for _, event in room.of(AudioPosition)]
        assert positions[0] == AudioPosition(RATE, interrupted.next_audio_sample)
        assert positions[-1] == AudioPosition(RATE + FRAME, RATE + FRAME)

    run(main())


def test_a_heartbeat_comes_where_nothing_else_did(tmp_path: Path) -> None:
    async def main() -> None:
        pace = Pace(is_realtime=True)
        async with listening(tmp_path, Intervals(heartbeat_s=1.0), pace=pace) as room:
            await asyncio.sleep(3.5)
            await room.say(4 * RATE)
            await room.conversation.end_utterance()
            await asyncio.sleep(6.6)
        beats_s = [at_s for at_s, _ in room.of(Heartbeat)]
        frames_s = [at_s for at_s, _ in room.of(Frame)]
        assert beats_s[:3] == pytest.approx([1, 2, 3])
        assert not any(frames_s[0] <= at_s <= frames_s[-1] for at_s in beats_s)
        assert beats_s[3] == pytest.approx(frames_s[-1] + 1)
        assert len(beats_s) == 5

    run(main())


def test_nothing_is_said_that_was_not_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path, Intervals()) as room:
            await asyncio.sleep(100)
            await room.say(RATE)
        assert not room.of(AudioPosition)
        assert not room.of(Heartbeat)

    run(main())


def test_pongs_go_before_frames_that_wait_in_the_order_of_their_pings(tmp_path: Path) -> None:
    async def main() -> None:
        pace = Pace(is_realtime=True, buffer_s=0.2)
        async with listening(tmp_path, Intervals(), pace=pace) as room:
            await room.say(4 * RATE)
            await asyncio.sleep(1)
            for name in "abc":
                room.conversation.ping(name, field="ping")
            await asyncio.sleep(0.001)
            assert [event.ping_id for _, event in room.of(Pong)] == ["a", "b", "c"]
            room.conversation.ping("d", field="ping")
        assert [event.ping_id for _, event in room.of(Pong)] == ["a", "b", "c", "d"]
        assert len(room.of(Frame)) == 100

    run(main())


def test_a_ping_that_comes_while_something_else_is_sent_is_answered_at_once(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        now = asyncio.get_running_loop().time
        gateway = Gateway(Offer(small_windows(), manifest()), FakeEngine(), tokenizer(tmp_path))
        asked = job(intervals=Intervals(heartbeat_s=1.0))
        async with converse(gateway, asked, LIMITS, now) as conversation:
            events = conversation.events()
            assert isinstance(await anext(events), Heartbeat)
            conversation.ping("a", field="ping")
            began_s = now()
            assert await anext(events) == Pong("a")
            assert now() == began_s

    run(main())
