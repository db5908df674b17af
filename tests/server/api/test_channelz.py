"""What gRPC tells of its connections, if it may."""

# Not every environment has the library.
# pyright: reportMissingImports=false

from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1._async import HealthServicer

from server.access.access import Access
from server.access.keys import Keys, digest
from server.api.listener import make_server
from server.app import services
from server.sessions.gateway import Gateway
from server.sessions.jobs import Offer
from tests.support.fake_engine import FakeEngine
from tests.support.serving import manifest, refusal, small_windows, tokenizer

pytest.importorskip("grpc_channelz", reason="grpcio-channelz is not installed")

from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc

KEYS = "\n".join(
    f'[[key]]\nname = "{name}"\nsha256 = "{digest(name)}"\npermissions = ["{permission}"]'
    for name, permission in (("operator", "info"), ("caller", "animate"))
)


async def test_connections_are_told_to_whoever_may_ask(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(KEYS)
    settings = small_windows(channelz=True, api_keys=path)
    offer, access = Offer(settings, manifest()), Access(Keys(path))
    gateway = Gateway(offer, FakeEngine(), tokenizer(tmp_path), access=access)
    server = make_server(settings, services(settings, gateway, lambda: True), HealthServicer())
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            make_stub: Any = channelz_pb2_grpc.ChannelzStub
            stub = make_stub(channel)

            async def ask(name: str, key: str, **fields: int) -> Any:
                request = getattr(channelz_pb2, f"{name}Request")(**fields)
                shown = (("authorization", f"Bearer {key}"),)
                return await getattr(stub, name)(request, metadata=shown)

            # Those of other tests may fill a page, and some are only about to be forgotten.
            first, calls, is_end = 0, 0, False
            while not is_end:
                page = await ask("GetServers", "operator", start_server_id=first)
                first, is_end, newest = page.server[-1].ref.server_id + 1, page.end, page.server[-1]
                calls += 1
            assert newest.data.calls_started == calls
            sockets = await ask("GetServerSockets", "operator", server_id=newest.ref.server_id)
            assert len(sockets.socket_ref) == 1
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask("GetServer", "operator", server_id=2**62)
            assert (refusal(caught.value).reason, refusal(caught.value).field) == (
                "INVALID_FIELD",
                "server_id",
            )
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask("GetServers", "caller")
            assert refusal(caught.value).reason == "PERMISSION_DENIED"
    finally:
        await server.stop(0)
