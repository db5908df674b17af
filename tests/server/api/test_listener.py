"""Where the server listens, what it takes from connections, and how it goes down."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1.avatar_service_pb2_grpc import AvatarServiceStub
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection_pb2

from server.api import listener
from server.api.listener import REFLECTION_V1, ListenError, bind, make_server
from server.api.service import AvatarService
from server.sessions.gateway import Gateway
from server.sessions.jobs import Offer
from server.settings import Settings
from tests.support.fake_engine import FakeEngine
from tests.support.http2 import GOAWAY, GREETING, PING, SETTINGS, frame, frame_kinds
from tests.support.serving import (
    Served,
    animate,
    frames,
    manifest,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
    tokenizer,
    until,
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(FakeEngine(), tmp_path, small_windows()) as running:
        yield running


def unstarted(folder: Path, settings: Settings) -> grpc.aio.Server:
    gateway = Gateway(Offer(settings, manifest()), FakeEngine(), tokenizer(folder))
    return make_server(settings, [AvatarService(gateway)], HealthServicer())


@pytest.mark.parametrize("host", ["::1", "[::1]", "::", "127.0.0.1", "localhost"])
async def test_it_listens_on_addresses_as_people_write_them(tmp_path: Path, host: str) -> None:
    settings = small_windows(host=host, port=0)
    server = unstarted(tmp_path, settings)
    address = bind(server, settings, None)
    await server.start()
    try:
        reachable = address.replace("[::]", "[::1]")
        async with grpc.aio.insecure_channel(reachable) as channel:
            await asyncio.wait_for(channel.channel_ready(), 10)
    finally:
        await server.stop(0)


async def test_a_port_in_use_and_a_foreign_address_are_told_apart(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = small_windows(port=taken.getsockname()[1])
        with pytest.raises(ListenError, match="in use"):
            bind(unstarted(tmp_path, settings), settings, None)
    settings = small_windows(host="192.0.2.1", port=0)
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:0: Cannot assign"):
        bind(unstarted(tmp_path, settings), settings, None)


async def test_a_connection_outlives_frequent_pings(server: Served) -> None:
    # By gRPC's defaults the fourth of them would end it.
    host, port = server.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(GREETING)
    for number in range(6):
        writer.write(frame(PING, number.to_bytes(8)))
        await asyncio.sleep(1.1)
    writer.write_eof()
    answered = [kind for kind, flags in frame_kinds(await reader.read()) if kind != SETTINGS]
    assert answered.count(PING) == 6
    assert GOAWAY not in answered
    writer.close()


async def test_an_old_connection_is_given_up_and_its_streams_go_on(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows(max_connection_age_s=1)) as server:
        call = server.stub.Animate()
        await call.write(start())
        assert (await call.read()).WhichOneof("message") == "started"
        # A younger one, which shows when the other is too old.
        reader, writer = await asyncio.open_connection(*server.address.split(":"))
        writer.write(GREETING)
        heard = b""
        while GOAWAY not in (kind for kind, _ in frame_kinds(heard)):
            heard += await reader.readexactly(1)
        writer.close()
        await writer.wait_closed()
        for message in said(speech(640)):
            await call.write(message)
        answers: list[pb.AnimateResponse] = []
        while isinstance(answer := await call.read(), pb.AnimateResponse):
            answers.append(answer)
        assert (len(frames(answers)), answers[-1].WhichOneof("message")) == (1, "summary")
        assert len(frames(await animate(server, [start(), *said(speech(640))]))) == 1


@asynccontextmanager
async def wire(to: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """An address that leads to another, and what cuts the way without a word to either side."""
    cut, carrying = asyncio.Event(), list[asyncio.Task[None] | None]()

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(2**16):
            if not cut.is_set():
                target.write(data)

    async def carry(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        carrying.append(asyncio.current_task())
        far, forth = await asyncio.open_connection(*to.split(":"))
        try:
            await asyncio.gather(copy(near, forth), copy(far, back))
        finally:
            for end in (back, forth):
                end.close()
                await end.wait_closed()

    async with await asyncio.start_server(carry, "127.0.0.1", 0) as middle:
        yield f"127.0.0.1:{middle.sockets[0].getsockname()[1]}", cut
        for task in carrying:
            assert task is not None
            task.cancel()
            await asyncio.wait([task])


async def test_a_call_whose_network_is_gone_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = tuple((name, min(value, 1000)) for name, value in listener.KEEPALIVE)
    monkeypatch.setattr(listener, "KEEPALIVE", quick)
    async with (
        served(FakeEngine(), tmp_path, small_windows()) as server,
        wire(server.address) as (address, cut),
        grpc.aio.insecure_channel(address) as channel,
    ):
        call = AvatarServiceStub(channel).Animate()
        await call.write(start())
        assert (await call.read()).WhichOneof("message") == "started"
        assert server.gateway.admission.active == 1
        cut.set()
        await until(lambda: server.gateway.admission.active == 0)
        call.cancel()


async def test_reflection_answers_by_both_of_its_names(server: Served) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    for name in (REFLECTION_V1, "grpc.reflection.v1alpha.ServerReflection"):
        async with grpc.aio.insecure_channel(server.address) as channel:
            ask = channel.stream_stream(
                f"/{name}/ServerReflectionInfo",
                reflection_pb2.ServerReflectionRequest.SerializeToString,
                reflection_pb2.ServerReflectionResponse.FromString,
            )
            (answer,) = [answer async for answer in ask(iter([request]))]
        services = {service.name for service in answer.list_services_response.service}
        assert {"echomimic.v1.AvatarService", name} <= services


async def test_reflection_can_be_switched_off(tmp_path: Path) -> None:
    async with (
        served(FakeEngine(), tmp_path, small_windows(reflection=False)) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        for name in (REFLECTION_V1, "grpc.reflection.v1alpha.ServerReflection"):
            call = channel.stream_stream(f"/{name}/ServerReflectionInfo")(iter([b""]))
            with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
                [answer async for answer in call]


async def test_what_is_at_work_when_the_server_goes_down_is_told_why(server: Served) -> None:
    call = server.stub.Animate()
    await call.write(start())
    await call.read()
    await server.gateway.admission.close(grace_s=0.05)
    assert (await call.read()).stream_expiring.reason == "SHUTTING_DOWN"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    refused = refusal(caught.value)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await animate(server, [start()])
    assert refusal(caught.value).reason == "SHUTTING_DOWN"
