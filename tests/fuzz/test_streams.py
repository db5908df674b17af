"""Whatever messages a stream has: it ends in one status, and nobody else hears of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from server.api.status import KINDS
from tests.support.fake_engine import FakeEngine
from tests.support.fuzzing import BYTES, fuzzed, messages
from tests.support.serving import (
    END,
    PAUSE,
    Served,
    animate,
    chunk,
    frames,
    portrait,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
    until,
    write_all,
)

kserve: Any = service_pb2
REASONS = {kind.reason for kind in KINDS.values()}
LIMITS = {
    "max_stream_audio_s": 2,
    "max_render_audio_s": 2,
    "max_portrait_pixels": 10**6,
    "max_message_bytes": 2**20,
    "idle_timeout_s": 5,
}
PORTRAIT = portrait(64)
START = start(portrait=pb.Portrait(image=PORTRAIT))
SOUND = speech(3200).tobytes()


def with_start(changes: pb.Start) -> pb.AnimateRequest:
    """A `start` that can be used, but for what is changed in it."""
    changed = pb.AnimateRequest()
    changed.CopyFrom(START)
    changed.start.MergeFrom(changes)
    return changed


def asking(changes: Any) -> Any:
    """A request of KServe that can be used, but for what is changed in it."""
    request = kserve.ModelInferRequest(model_name="avatar", id="1")
    request.inputs.add(name="audio", datatype="INT16", shape=[640])
    request.raw_input_contents.append(SOUND[:1280])
    request.MergeFrom(changes)
    return request


STARTS = st.just(START) | messages(pb.Start, depth=3).map(with_start)
LATER = (
    st.sampled_from([END, PAUSE, START, chunk(SOUND), pb.AnimateRequest(interrupt=pb.Interrupt())])
    | BYTES.map(chunk)
    | messages(pb.AnimateRequest)
).map(lambda message: message.SerializeToString()) | BYTES
STREAMS = st.tuples(
    (STARTS | messages(pb.AnimateRequest)).map(lambda message: message.SerializeToString()),
    st.lists(LATER, max_size=6),
).map(lambda parts: [parts[0], *parts[1]])
REQUESTS = st.lists(
    (messages(kserve.ModelInferRequest, depth=3).map(asking)).map(
        lambda message: message.SerializeToString()
    )
    | BYTES,
    max_size=3,
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    settings = small_windows(**LIMITS)
    async with served(FakeEngine(), tmp_path, settings, default_portrait=PORTRAIT) as running:
        yield running


async def answers(server: Served, method: str, sent: list[bytes]) -> list[bytes]:
    """Sends bytes, half-closes and returns what comes back; raises the call's own status."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = channel.stream_stream(method)(timeout=60)
        writing = write_all(call, sent)  # pyright: ignore[reportArgumentType]
        try:
            return [answer async for answer in call]
        finally:
            writing.cancel()


def check_refusal(error: grpc.aio.AioRpcError) -> None:
    said_so = refusal(error)
    assert said_so.reason in REASONS
    assert said_so.text
    if said_so.reason == "INVALID_FIELD":
        assert said_so.field


async def check_others(server: Served) -> None:
    await until(lambda: server.gateway.admission.active == 0)
    assert len(frames(await animate(server, [START, *said(speech(640))]))) == 1


@fuzzed(40)
@given(sent=STREAMS)
async def test_any_stream_ends_in_one_status(server: Served, sent: list[bytes]) -> None:
    other = server.stub.Animate()
    await other.write(START)
    assert (await other.read()).WhichOneof("message") == "started"
    try:
        came = await answers(server, "/echomimic.v1.AvatarService/Animate", sent)
    except grpc.aio.AioRpcError as error:
        check_refusal(error)
    else:
        kinds = [pb.AnimateResponse.FromString(data).WhichOneof("message") for data in came]
        assert (kinds.count("started"), kinds.count("summary"), kinds[-1]) == (1, 1, "summary")
    for message in said(speech(640)):
        await other.write(message)
    heard: list[Any] = []
    while isinstance(answer := await other.read(), pb.AnimateResponse):
        heard.append(answer)
    assert (len(frames(heard)), heard[-1].WhichOneof("message")) == (1, "summary")
    await until(lambda: server.gateway.admission.active == 0)


@fuzzed(25)
@given(
    method=st.sampled_from(
        ["Render", "CheckPortrait", "CreateAvatar", "GetAvatar", "ListAvatars", "DeleteAvatar"]
    ),
    data=st.data(),
)
async def test_any_request_ends_in_one_status(
    server: Served, method: str, data: st.DataObject
) -> None:
    kind = getattr(pb, f"{method}Request")
    message = data.draw(messages(kind, depth=3))
    if method == "Render" and data.draw(st.booleans()):
        message.portrait.image = PORTRAIT
        message.audio_format.CopyFrom(START.start.audio_format)
        message.audio = SOUND
    sent = data.draw(st.just(message.SerializeToString()) | BYTES)
    try:
        assert await answers(server, f"/echomimic.v1.AvatarService/{method}", [sent])
    except grpc.aio.AioRpcError as error:
        check_refusal(error)
    await check_others(server)


@fuzzed(25)
@given(sent=REQUESTS)
async def test_any_requests_of_kserve_are_answered_or_refused(
    server: Served, sent: list[bytes]
) -> None:
    method = "/inference.GRPCInferenceService/ModelStreamInfer"
    try:
        came = await answers(server, method, sent)
    except grpc.aio.AioRpcError as error:
        check_refusal(error)
    else:
        told = [kserve.ModelStreamInferResponse.FromString(data) for data in came]
        assert len(told) >= len(sent)
        assert not any("INTERNAL" in answer.error_message for answer in told)
    await check_others(server)
