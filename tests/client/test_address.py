"""Addresses that cannot be meant, and servers that do not answer: a sentence each."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import BaseRequestHandler, TCPServer

import grpc
import pytest

from echomimic_client.address import channel_options, check_target, no_answer
from echomimic_client.aio import AsyncAvatarClient
from echomimic_client.blocking import AvatarClient
from echomimic_client.errors import AddressError, CallError
from tests.support.fake_service import FakeService, served
from tests.support.listening import listening

NO_PROXY = ("grpc.enable_http_proxy", 0)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("http://10.0.0.5:50051", "is a URL; write host:port alone, as 10.0.0.5:50051"),
        ("https://avatars.example", "as avatars.example:50051"),
        ("grpc://avatars.example:7", "as avatars.example:7"),
        ("127.0.0.1", "has no port; write it as 127.0.0.1:50051"),
        ("", "has no port"),
        ("::1", r"in brackets, as \[::1\]:50051"),
        ("[::1]", r"has no port; write it as \[::1\]:50051"),
        (":50051", "is no address"),
        ("host:port", "is no address"),
        ("host:99999", "is no address"),
        ("host:50051/v1", "is no address"),
    ],
)
def test_an_address_that_cannot_be_meant_tells_what_to_write(target: str, told: str) -> None:
    with pytest.raises(AddressError, match=told):
        AvatarClient(target)


@pytest.mark.parametrize("target", ["a.example:1", "[::1]:50051", "dns:///a:1", "unix:/tmp/s"])
def test_addresses_of_grpc_are_taken(target: str) -> None:
    check_target(target)


@contextmanager
def http_server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with listening(HTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"127.0.0.1:{port}"


async def test_an_http_server_is_named_as_such() -> None:
    with http_server() as address:
        with (
            AvatarClient(address) as client,
            pytest.raises(CallError, match=f"{address} answers, but does not speak gRPC"),
        ):
            client.server_info()
        async with AsyncAvatarClient(address) as client:
            with pytest.raises(CallError, match="is it an HTTP port, as Triton's 8000"):
                await client.server_info()


class HangUp(BaseRequestHandler):
    """Closes the connection on hearing HTTP/2, as Triton's HTTP port does."""

    def handle(self) -> None:
        self.request.recv(1)


def test_a_port_that_hangs_up_is_no_server_of_grpc() -> None:
    with listening(TCPServer(("127.0.0.1", 0), HangUp)) as port:
        address = f"127.0.0.1:{port}"
        with (
            AvatarClient(address) as client,
            pytest.raises(CallError, match=f"{address} answers, but does not speak gRPC"),
        ):
            client.server_info()


def test_another_grpc_server_is_named_as_such() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with (
        AvatarClient(f"127.0.0.1:{port}") as client,
        pytest.raises(CallError, match="speaks gRPC but is no EchoMimic server"),
    ):
        client.server_info()
    server.stop(None).wait()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("grpc_proxy", "https_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("http_proxy", f"http://me:secret@{nobody}")
    return nobody


def test_a_proxy_is_named_and_its_password_is_not(proxy: str) -> None:
    with AvatarClient("avatars.example:50051") as client, pytest.raises(CallError) as caught:
        client.server_info()
    assert f"through the proxy {proxy}, which http_proxy names" in str(caught.value)
    assert "no_proxy" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("proxy")
def test_no_proxy_stands_before_this_machine() -> None:
    with served(FakeService()) as address:
        port = address.split(":")[1]
        for host in ("127.0.0.1", "localhost"):
            with AvatarClient(f"{host}:{port}") as client:
                assert client.server_info().variant == "flash"
    for target in ("127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1", "dns:///localhost:1"):
        assert NO_PROXY in channel_options(target)
    assert NO_PROXY not in channel_options("10.0.0.5:1")


@pytest.mark.usefixtures("proxy")
def test_a_host_that_needs_no_proxy_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "other.example, .example")
    told = no_answer("avatars.example:50051", grpc.StatusCode.UNAVAILABLE, "refused")
    assert told == "no answer from avatars.example:50051; is the server running?"
