"""Idle frames over real gRPC, with a fake engine."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb

from tests.support.fake_engine import FakeEngine
from tests.support.serving import (
    END,
    PAUSE,
    Served,
    animate,
    chunk,
    frames,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
)

MODEL = pb.IDLE_MODE_MODEL


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(FakeEngine(), tmp_path, small_windows()) as running:
        yield running


async def read(call: Any, frames: int) -> list[pb.AnimateResponse]:
    """Reads answers up to so many frames."""
    answers: list[pb.AnimateResponse] = []
    while sum(answer.HasField("frame") for answer in answers) < frames:
        answers.append(await call.read())
    return answers


async def test_idle_frames_are_of_their_kind_and_counted_apart(server: Served) -> None:
    call = server.stub.Animate()
    await call.write(start(idle_mode=MODEL))
    answers = await read(call, 3)
    assert answers[0].started.idle_mode == MODEL
    await call.write(chunk(speech(1280).tobytes()))
    await call.write(PAUSE)
    while answers[-1].utterance.phase != pb.UTTERANCE_PHASE_ENDED:
        answers.append(await call.read())
    answers += await read(call, 3)
    await call.write(END)
    while not answers[-1].HasField("summary"):
        answers.append(await call.read())
    summary = answers[-1].summary
    sent = frames(answers)
    assert {frame.kind for frame in sent} == {pb.FRAME_KIND_IDLE, pb.FRAME_KIND_SPEECH}
    assert summary.frames - summary.idle_frames == 2
    assert summary.idle_frames >= 6
    assert summary.first_frame_latency.ToTimedelta().total_seconds() < 5


async def test_frames_of_a_listener_are_of_their_kind_and_still_sends_none(server: Served) -> None:
    listening = pb.AnimateRequest(listening=pb.Listening(active=True))
    call = server.stub.Animate()
    await call.write(start(idle_mode=MODEL))
    await read(call, 2)
    await call.write(listening)
    answers = await read(call, 1)
    while answers[-1].frame.kind != pb.FRAME_KIND_LISTENING:
        answers.append(await call.read())
    await call.write(END)
    while not answers[-1].HasField("summary"):
        answers.append(await call.read())
    assert answers[-1].summary.idle_frames == answers[-1].summary.frames
    still = await animate(server, [start(), listening, *said(speech(640))])
    assert [frame.kind for frame in frames(still)] == [pb.FRAME_KIND_SPEECH]


async def test_a_stream_without_speech_has_a_summary(server: Served) -> None:
    call = server.stub.Animate()
    await call.write(start(idle_mode=MODEL))
    await read(call, 2)
    await call.write(END)
    answers = [await call.read()]
    while not answers[-1].HasField("summary"):
        answers.append(await call.read())
    assert answers[-1].summary.frames == answers[-1].summary.idle_frames >= 2
    assert answers[-1].summary.realtime_factor == 0


async def test_the_shorthand_is_the_first_mode_and_nothing_is_none(server: Served) -> None:
    info = await server.stub.GetServerInfo(pb.GetServerInfoRequest())
    assert list(info.idle_modes) == [pb.IDLE_MODE_MODEL, pb.IDLE_MODE_STILL]
    for opening, mode in (({"idle_frames": True}, MODEL), ({}, pb.IDLE_MODE_STILL)):
        answers = await animate(server, [start(**opening), *said(speech(640))])
        assert answers[0].started.idle_mode == mode


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "without the mesh": ({"idle_mode": pb.IDLE_MODE_WARP}, "start.idle_mode"),
    "unknown": ({"idle_mode": 99}, "start.idle_mode"),
    "both": ({"idle_mode": pb.IDLE_MODE_STILL, "idle_frames": True}, "start.idle_frames"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_is_refused(server: Served, name: str) -> None:
    opening, field = REFUSED[name]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await animate(server, [start(**opening), END])
    refused = refusal(caught.value)
    assert (refused.code, refused.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


async def _read_into(answers: list[pb.AnimateResponse], call: Any) -> None:
    async for answer in call:
        answers.append(answer)


async def test_idle_frames_do_not_put_off_the_end_of_a_silent_client(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows(idle_timeout_s=0.4)) as server:
        call = server.stub.Animate()
        await call.write(start(idle_mode=MODEL))
        answers: list[pb.AnimateResponse] = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(_read_into(answers, call), 10)
        assert refusal(caught.value).reason == "IDLE_CLIENT"
        assert len(frames(answers)) >= 2
        assert server.gateway.admission.active == 0
