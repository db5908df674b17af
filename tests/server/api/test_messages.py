"""What is said of a call: messages that are none, ids, the log's lines."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from google.rpc import status_pb2  # pyright: ignore[reportMissingTypeStubs]
from structlog.testing import capture_logs

from server.api.calls import Call, serving
from server.errors import EngineUnavailableError, InvalidFieldError, SlowReaderError, cause_of
from server.recorder import SILENT
from server.spans import UNTRACED
from tests.support.fake_engine import FakeEngine
from tests.support.serving import (
    Served,
    animate,
    frames,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
    until,
)

NO_MESSAGES = {
    "Latin-1 in a string": b"\x0a\x05\x0a\x03\xfc\xe9\xe8",
    "garbage": b"\xff\xff\xff\xff\xff",
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(FakeEngine(), tmp_path, small_windows()) as running:
        yield running


def raw(channel: grpc.aio.Channel, method: str) -> Any:
    return channel.stream_stream(
        f"/echomimic.v1.AvatarService/{method}",
        request_serializer=bytes,
        response_deserializer=bytes,
    )


@pytest.mark.parametrize("data", NO_MESSAGES.values(), ids=list(NO_MESSAGES))
@pytest.mark.parametrize("method", ["Animate", "Render", "GetServerInfo"])
async def test_bytes_that_are_no_message_are_refused_in_one_line(
    server: Served, method: str, data: bytes
) -> None:
    with capture_logs() as logs:
        async with grpc.aio.insecure_channel(server.address) as channel:
            call = raw(channel, method)()
            await call.write(data if method != "GetServerInfo" else b"\xff")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
    refused = refusal(caught.value)
    assert (refused.code, refused.field) == (grpc.StatusCode.INVALID_ARGUMENT, "message")
    begun, ended = logs
    assert begun["event"] == f"{method} begins"
    assert ended["log_level"] == "warning"
    assert ended["status"] == "INVALID_ARGUMENT/INVALID_FIELD"
    assert "exc_info" not in ended


async def test_garbage_in_the_middle_of_a_stream_is_refused_too(server: Served) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = raw(channel, "Animate")()
        await call.write(start().SerializeToString())
        await call.read()
        await call.write(b"\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert refusal(caught.value).code == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_refusal_in_the_log_names_field_reason_message_and_peer(server: Served) -> None:
    with capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError):
        await animate(server, [start(portrait=None)])
    line = logs[-1]
    assert line["log_level"] == "warning"
    assert line["status"] == "INVALID_ARGUMENT/INVALID_FIELD"
    assert line["field"] == "start.portrait"
    assert "is missing" in line["message"]
    assert line["peer"].startswith("ipv4:127.0.0.1:")


async def test_every_method_leaves_its_lines(server: Served) -> None:
    with capture_logs() as logs:
        await server.stub.GetServerInfo(pb.GetServerInfoRequest())
        with pytest.raises(grpc.aio.AioRpcError):
            await server.stub.CreateAvatar(pb.CreateAvatarRequest())
    assert [line["event"] for line in logs] == [
        *("GetServerInfo begins", "GetServerInfo"),
        *("CreateAvatar begins", "CreateAvatar"),
    ]


@pytest.mark.parametrize("leaves", [True, False])
async def test_the_log_tells_a_deadline_from_a_client_that_left(
    server: Served, leaves: bool
) -> None:
    with capture_logs() as logs:
        call = server.stub.Animate(timeout=None if leaves else 1.0)
        await call.write(start())
        await call.read()
        if leaves:
            call.cancel()
        else:
            with pytest.raises(grpc.aio.AioRpcError):
                await call.read()
        async with asyncio.timeout(5):
            while len(logs) < 2:  # noqa: ASYNC110 - nothing tells when
                await asyncio.sleep(0.01)
    assert logs[-1]["status"] == ("CANCELLED" if leaves else "DEADLINE_EXCEEDED")


async def test_an_id_that_cannot_be_used_is_replaced_and_said_so(server: Served) -> None:
    call = server.stub.Animate(
        iter([start(), *said(speech(640))]), metadata=(("x-request-id", "spaces are not"),)
    )
    answers = [answer async for answer in call]
    assert answers[0].started.request_id
    assert answers[0].started.request_id != "spaces are not"
    assert answers[1].warning.reason == "REQUEST_ID_REPLACED"
    assert len(frames(answers)) == 1


async def test_a_status_that_nobody_reads_does_not_hold_the_handler(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NeverRead:
        def invocation_metadata(self) -> tuple[()]:
            return ()

        def peer(self) -> str:
            return "ipv4:127.0.0.1:1"

        async def read(self) -> None:
            await asyncio.Event().wait()

        async def abort_with_status(self, _: grpc.Status) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr("server.api.calls.STATUS_S", 0.01)
    context: Any = NeverRead()
    async with asyncio.timeout(5):
        async with serving(context, "M", server.gateway):
            raise InvalidFieldError("a", "b")


def test_the_cause_is_what_the_client_is_to_be_told() -> None:
    told, bug = InvalidFieldError("a", "b"), RuntimeError("c")
    later = EngineUnavailableError("denoiser", "gone")
    group = ExceptionGroup("", [bug, ExceptionGroup("", [told, later])])
    assert cause_of(group) is told
    assert cause_of(ExceptionGroup("", [bug])) is bug
    assert cause_of(told) is told


class FullContext:
    """A gRPC context whose client's side takes the first answer late."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.said: list[str] = []

    def invocation_metadata(self) -> tuple[()]:
        return ()

    async def write(self, message: str) -> None:
        await self.room.wait()
        self.said.append(message)

    async def abort_with_status(self, _: object) -> None:
        self.said.append("status")


async def test_a_status_waits_for_a_first_answer_that_is_under_way() -> None:
    """GRPC cannot send headers twice: the client would never hear the status."""
    context = FullContext()
    call = Call(context, "Animate", SILENT, UNTRACED, read_timeout_s=60)
    sending = asyncio.create_task(call.send("started"))
    await asyncio.sleep(0)
    sending.cancel()
    failing = asyncio.create_task(call.fail(status_pb2.Status(code=13)))
    await asyncio.wait([sending, failing], timeout=0.05)
    assert (sending.cancelled(), context.said) == (True, [])
    context.room.set()
    await failing
    assert context.said == ["started", "status"]


async def test_a_client_that_is_gone_is_no_error_of_the_servers(server: Served) -> None:
    """Where its connection breaks off, gRPC fails what is being sent before it cancels the call."""

    class Gone(FullContext):
        async def write(self, message: str) -> None:
            raise grpc.aio.InternalError

        def time_remaining(self) -> None:
            return None

        def peer(self) -> str:
            return "ipv4:127.0.0.1:1"

    context: Any = Gone()

    async def handle() -> None:
        async with serving(context, "M", server.gateway) as call:
            await call.send("frame")

    with capture_logs() as logs:
        handling = asyncio.create_task(handle())
        await until(lambda: bool(logs))
        await asyncio.sleep(0)
        handling.cancel()
        await asyncio.wait([handling])
    assert handling.cancelled()
    assert logs[-1]["status"] == "CANCELLED"
    assert context.said == []


async def test_a_server_that_stood_still_does_not_blame_the_client() -> None:
    context: Any = FullContext()
    call = Call(context, "Animate", SILENT, UNTRACED, read_timeout_s=0.2)
    sending = asyncio.create_task(call.send("frame"))
    await asyncio.sleep(0)
    # The process is stopped for longer than that; meanwhile the client takes what it is sent.
    time.sleep(0.3)  # noqa: ASYNC251 - it stands still
    context.room.set()
    await sending
    assert context.said == ["frame"]


async def test_a_client_that_does_not_read_is_a_slow_reader() -> None:
    context: Any = FullContext()
    call = Call(context, "Animate", SILENT, UNTRACED, read_timeout_s=0.02)
    with pytest.raises(SlowReaderError):
        await call.send("frame")
