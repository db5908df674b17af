"""TLS: who is believed, whose certificate is asked for, and files that change."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx2
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc
from grpc_health.v1._async import HealthServicer
from pydantic import ValidationError

from server.access.files import AccessFileError
from server.access.risks import risks
from server.access.tls import Tls, tls
from server.api.listener import bind, make_server
from server.api.service import AvatarService
from server.sessions.gateway import Gateway
from server.sessions.jobs import Offer
from server.settings import Settings
from tests.support.certificates import Authority, Pair
from tests.support.fake_engine import FakeEngine
from tests.support.http import by_http
from tests.support.serving import Served, manifest, served, small_windows, tokenizer


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def stated(folder: Path, pair: Pair, client_ca: bytes | None = None) -> Settings:
    certificate, key = pair.write(folder, "server")
    ca = folder / "ca.pem"
    ca.write_bytes(client_ca or b"")
    asked = {"tls_client_ca": ca} if client_ca else {}
    return small_windows(port=0, tls_certificate=certificate, tls_key=key, **asked)


@asynccontextmanager
async def listening(folder: Path, settings: Settings) -> AsyncIterator[str]:
    gateway = Gateway(Offer(settings, manifest()), FakeEngine(), tokenizer(folder))
    server = make_server(settings, [AvatarService(gateway)], HealthServicer())
    address = bind(server, settings, tls(settings))
    await server.start()
    try:
        yield address
    finally:
        await server.stop(0)


async def version(address: str, authority: bytes, shown: Pair | None = None) -> str:
    """What the server answers to a client that believes an authority."""
    own = (shown.key, shown.certificate) if shown else (None, None)
    credentials = grpc.ssl_channel_credentials(authority, *own)
    async with grpc.aio.secure_channel(address, credentials) as channel:
        stub = pb_grpc.AvatarServiceStub(channel)
        return (await stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=10)).version


async def test_grpc_is_served_by_tls_to_whoever_believes_the_authority(
    tmp_path: Path, authority: Authority
) -> None:
    async with listening(tmp_path, stated(tmp_path, authority.issue("server"))) as address:
        assert await version(address, authority.certificate)
        with pytest.raises(grpc.aio.AioRpcError, match=r"(?i)certificate|handshake|connect"):
            await version(address, Authority().certificate)


async def test_a_client_has_to_show_a_certificate_of_the_authority_asked_for(
    tmp_path: Path, authority: Authority
) -> None:
    clients = Authority("clients")
    settings = stated(tmp_path, authority.issue("server"), clients.certificate)
    async with listening(tmp_path, settings) as address:
        assert await version(address, authority.certificate, clients.issue("client"))
        for shown in (None, authority.issue("client")):
            with pytest.raises(grpc.aio.AioRpcError):
                await version(address, authority.certificate, shown)


async def test_a_certificate_is_replaced_without_a_restart(
    tmp_path: Path, authority: Authority
) -> None:
    later = Authority("later")
    async with listening(tmp_path, stated(tmp_path, authority.issue("server"))) as address:
        assert await version(address, authority.certificate)
        later.issue("server").write(tmp_path, "server")
        assert await version(address, later.certificate)
        (tmp_path / "server.pem").write_text("half a certif")
        assert await version(address, later.certificate)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(FakeEngine(), tmp_path, small_windows()) as running:
        yield running


async def test_http_is_served_by_tls_and_follows_the_files(
    site: Served, tmp_path: Path, authority: Authority
) -> None:
    certificates = Tls(*authority.issue("server").write(tmp_path, "server"), None)
    async with by_http(site, tls=certificates, authority=authority.certificate) as client:
        assert client.base_url.scheme == "https"
        assert (await client.get("/healthz", headers={"connection": "close"})).is_success
        later = Authority("later")
        later.issue("server").write(tmp_path, "server")
        believing = ssl.create_default_context(cadata=later.certificate.decode())
        async with httpx2.AsyncClient(base_url=client.base_url, verify=believing) as again:
            assert (await again.get("/healthz")).is_success
        with pytest.raises(httpx2.ConnectError):
            await client.get("/healthz")


async def test_http_asks_for_a_certificate_where_it_is_to(
    site: Served, tmp_path: Path, authority: Authority
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate)
    certificates = Tls(*authority.issue("server").write(tmp_path, "server"), ca)
    async with by_http(site, tls=certificates, authority=authority.certificate) as client:
        with pytest.raises(httpx2.TransportError):
            await client.get("/healthz")
        context = ssl.create_default_context(cadata=authority.certificate.decode())
        context.load_cert_chain(*authority.issue("client").write(tmp_path, "client"))
        async with httpx2.AsyncClient(base_url=client.base_url, verify=context) as known:
            assert (await known.get("/healthz")).is_success


def test_a_key_of_another_certificate_is_refused_by_name(
    tmp_path: Path, authority: Authority
) -> None:
    certificate, _ = authority.issue("server").write(tmp_path, "server")
    _, key = authority.issue("other").write(tmp_path, "other")
    with pytest.raises(AccessFileError, match=r"other\.key.*(?i:mismatch)"):
        Tls(certificate, key, None)


@pytest.mark.parametrize("lacks", ["tls_certificate", "tls_key"])
def test_half_of_what_tls_takes_is_refused(
    tmp_path: Path, authority: Authority, lacks: str
) -> None:
    certificate, key = authority.issue("server").write(tmp_path, "server")
    files: dict[str, Path | None] = {"tls_certificate": certificate, "tls_key": key, lacks: None}
    with pytest.raises(ValidationError, match="go together"):
        small_windows(**files)


def test_an_open_door_to_others_is_told(tmp_path: Path, authority: Authority) -> None:
    assert not list(risks(small_windows()))
    assert not list(risks(small_windows(host="[::1]")))
    without_tls, everybody = risks(small_windows(host="0.0.0.0"))
    assert "without TLS" in without_tls
    assert "everybody is let in" in everybody
    settings = stated(tmp_path, authority.issue("server"), authority.certificate)
    assert not list(risks(settings.model_copy(update={"host": "0.0.0.0"})))
