"""Positions, pings and heartbeats over real gRPC, with a fake engine."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc
from google.protobuf.duration_pb2 import Duration

from server.sessions.outbox import MAX_UNREAD_ANSWERS
from tests.chaos.history import Client, History, Received, ended
from tests.support.fake_engine import FakeEngine
from tests.support.serving import (
    END,
    PAUSE,
    Served,
    animate,
    chunk,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
)

RATE = 16_000


def ping(name: str) -> pb.AnimateRequest:
    return pb.AnimateRequest(ping=pb.Ping(ping_id=name))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(FakeEngine(), tmp_path, small_windows()) as running:
        yield running


async def test_a_position_says_from_where_another_stream_is_to_be_sent(server: Served) -> None:
    samples = speech(RATE)
    call = server.stub.Animate()
    asked = start(audio_position_interval=Duration(nanos=200_000_000))
    for message in [asked, chunk(samples.tobytes())]:
        await call.write(message)
    answers: list[pb.AnimateResponse] = [await call.read()]
    assert answers[0].started.audio_position_interval.nanos == 200_000_000
    while not answers[-1].HasField("audio_position"):
        answers.append(await call.read())
    call.cancel()
    position = answers[-1].audio_position
    before = [answer.frame for answer in answers if answer.HasField("frame")]
    assert position.received_samples == RATE
    assert position.animated_samples == len(before) * 640
    rest = samples[position.animated_samples :]
    again = await animate(server, [start(), *said(rest)])
    frames = sum(answer.HasField("frame") for answer in again)
    assert len(before) + frames == 25


async def test_pings_are_answered_in_order_and_before_the_summary(server: Served) -> None:
    names = [str(number) for number in range(50)]
    messages = [start(), *map(ping, names), *said(speech(RATE))]
    answers = await animate(server, messages)
    assert [a.pong.ping_id for a in answers if a.HasField("pong")] == names
    assert answers[-1].HasField("summary")
    unasked = {"audio_position", "heartbeat"}
    assert not unasked & {answer.WhichOneof("message") for answer in answers}


async def _read_into(answers: list[pb.AnimateResponse], call: Any) -> None:
    async for answer in call:
        answers.append(answer)


def pinged(address: str) -> History:
    """Says nothing but that it is there, until the call ends."""
    with grpc.insecure_channel(address) as channel:
        # Its writes may fail as the server ends the call; grpc.aio would then forget why it did.
        client = Client(pb_grpc.AvatarServiceStub(channel))
        client.send(start(heartbeat_interval=Duration(seconds=1)))
        while not ended(client.history):
            client.send(ping("there?"))
            time.sleep(0.1)
        return client.finish()


async def test_neither_pings_nor_heartbeats_keep_a_silent_client(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows(idle_timeout_s=1.5)) as server:
        history = await asyncio.to_thread(pinged, server.address)
    outcome = ended(history)
    assert outcome is not None
    assert outcome.reason == "IDLE_CLIENT"
    assert sum(isinstance(e, Received) and e.message.HasField("pong") for e in history) > 1


async def test_what_is_said_between_pings_puts_the_end_off(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows(idle_timeout_s=1.0)) as server:
        call = server.stub.Animate()
        await call.write(start())
        for number in range(6):
            await call.write(ping(str(number)))
            await call.write(PAUSE)
            await asyncio.sleep(0.3)
        await call.write(END)
        answers: list[pb.AnimateResponse] = []
        await _read_into(answers, call)
        assert answers[-1].HasField("summary")


async def test_a_client_that_pings_and_reads_nothing_is_sent_away(tmp_path: Path) -> None:
    options = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]
    settings = small_windows(read_timeout_s=20)
    async with (
        served(FakeEngine(), tmp_path, settings) as server,
        grpc.aio.insecure_channel(server.address, options=options) as channel,
    ):
        call = type(server.stub)(channel).Animate()
        messages = [start(), *[ping("a" * 128)] * (20 * MAX_UNREAD_ANSWERS)]

        async def write() -> None:
            for message in messages:
                await call.write(message)

        writing = asyncio.create_task(write())
        call.add_done_callback(lambda _: writing.cancel())
        await asyncio.wait([writing])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _read_into([], call)
        refused = refusal(caught.value)
        assert refused.reason == "LIMIT_EXCEEDED"
        assert "max_unread_answers" in refused.text


BAD: dict[str, tuple[list[pb.AnimateRequest], str]] = {
    "long id": ([start(), ping("a" * 129)], "ping.ping_id"),
    "often": (
        [start(audio_position_interval=Duration(nanos=199_000_000))],
        "start.audio_position_interval",
    ),
    "never": ([start(heartbeat_interval=Duration(seconds=3601))], "start.heartbeat_interval"),
    "negative": ([start(heartbeat_interval=Duration(seconds=-1))], "start.heartbeat_interval"),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_cannot_be_asked_is_refused(server: Served, name: str) -> None:
    messages, field = BAD[name]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await animate(server, [*messages, END])
    assert refusal(caught.value).field == field
