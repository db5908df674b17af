"""A stream of minutes, with a fake engine: every frame comes and memory stays where it is.

`make soak` does the same for half an hour with real networks.
"""

import asyncio
from pathlib import Path

import psutil
from echomimic.v1 import avatar_service_pb2 as pb

from tests.soak import MAX_GROWTH_BYTES, babble
from tests.support.fake_engine import FakeEngine
from tests.support.serving import END, chunk, served, small_windows, start

MINUTES = 3


async def test_minutes_of_speech_leave_nothing_behind(tmp_path: Path) -> None:
    memory: list[int] = []
    frames = 0
    settings = small_windows(window_ladder=(17, 33), overlap_frames=5)
    async with served(FakeEngine(), tmp_path, settings) as server:
        call = server.stub.Animate()

        async def speak() -> None:
            await call.write(start())
            for data in babble(MINUTES * 60):
                await call.write(chunk(data))
            await call.write(END)
            await call.done_writing()

        speaking = asyncio.create_task(speak())
        async for answer in call:
            if answer.WhichOneof("message") == "frame":
                assert answer.frame.index == frames
                frames += 1
                if frames % (60 * 25) == 0:
                    memory.append(psutil.Process().memory_info().rss)
        await speaking
        summary: pb.Summary = answer.summary
    assert frames == summary.frames == MINUTES * 60 * 25
    assert memory[-1] - memory[0] < MAX_GROWTH_BYTES
