"""Clients that write everything, half-close and only then read: served or refused, never stuck."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1.avatar_service_pb2_grpc import AvatarServiceStub

from tests.support.fake_engine import FakeEngine
from tests.support.serving import (
    END,
    PAUSE,
    chunk,
    frames,
    refusal,
    served,
    small_windows,
    speech,
    start,
    until,
)

RATE = 16_000
TENTH = chunk(speech(RATE // 10).tobytes())
INTERRUPT = pb.AnimateRequest(interrupt=pb.Interrupt())
PING = pb.AnimateRequest(ping=pb.Ping(ping_id="a" * 128))
NARROW = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]
"""Small flow control windows, so that little fits on the way to the client."""
STUCK_S = 180

CASES: dict[str, tuple[list[pb.AnimateRequest], dict[str, Any], str]] = {
    "speech": ([TENTH] * 200, {}, ""),
    "utterances": ([TENTH, PAUSE] * 200, {}, ""),
    "interruptions": ([TENTH, INTERRUPT] * 200, {}, ""),
    "more than may wait": ([TENTH] * 400, {"max_buffered_audio_s": 2}, "LIMIT_EXCEEDED"),
    "more answers than may wait": ([INTERRUPT, PING] * 3_000, {}, "LIMIT_EXCEEDED"),
    "longer than frames may wait": ([TENTH] * 200, {"read_timeout_s": 0.3}, "SLOW_READER"),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_client_that_writes_everything_first_is_served_or_refused(
    tmp_path: Path, name: str
) -> None:
    said, changes, reason = CASES[name]
    engine = FakeEngine()
    settings = small_windows(**changes)
    async with (
        asyncio.timeout(STUCK_S),
        served(engine, tmp_path, settings) as server,
        grpc.aio.insecure_channel(server.address, options=NARROW) as channel,
    ):
        call = AvatarServiceStub(channel).Animate()
        await call.write(start())
        await until(lambda: server.gateway.admission.active == 1)
        await _write(call, [*said, END])
        if reason:
            # Without a word from the client, which reads nothing yet.
            await until(lambda: server.gateway.admission.active == 0)
        answers: list[pb.AnimateResponse] = []
        try:
            async for answer in call:
                answers.append(answer)
        except grpc.aio.AioRpcError as error:
            assert reason
            assert refusal(error).reason == reason  # noqa: PT017
        else:
            assert not reason
            assert answers[-1].HasField("summary")
            assert answers[-1].summary.frames == len(frames(answers))
        await until(lambda: server.gateway.admission.active == 0)


async def _write(call: Any, messages: list[pb.AnimateRequest]) -> None:
    """Writes and half-closes, or as much of it as the call lasts for."""
    writing = asyncio.create_task(_write_all(call, messages))
    call.add_done_callback(lambda _: writing.cancel())
    await asyncio.wait([writing])


async def _write_all(call: Any, messages: list[pb.AnimateRequest]) -> None:
    for message in messages:
        await call.write(message)
    await call.done_writing()
