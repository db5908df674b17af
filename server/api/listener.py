"""The gRPC server: where it listens, what it takes from connections, which services it has."""

# These libraries' own annotations are missing or partial.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

import socket
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import grpc
from grpc_health.v1 import health as health_service
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from server.access.tls import Certificates, Tls
from server.settings import Settings

REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
"""The same messages as v1alpha under the name that newer tools ask for first."""
KEEPALIVE = (
    # Clients may ping every 10 s, with calls or without: a habit of Go, Node and Kubernetes.
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A client whose network is gone sends no end; a minute later its calls are ended. The first
    # timeout is TCP's own; where a proxy still answers for the client, the second one tells.
    ("grpc.keepalive_time_ms", 40_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
)


class ListenError(Exception):
    """The gateway cannot listen; the text is one line for the operator."""


class Service(Protocol):
    """A service of ours."""

    name: str
    """The full one, as reflection lists it."""

    def add_to(self, server: grpc.aio.Server) -> None:
        """Adds its methods to a server that has not started."""
        ...


def make_server(
    settings: Settings, services: Iterable[Service], health: HealthServicer
) -> grpc.aio.Server:
    """Returns a gRPC server, not started, with services of ours, health and reflection."""
    services = tuple(services)
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            # Two gateways on one port would silently share its clients.
            ("grpc.so_reuseport", 0),
            *KEEPALIVE,
            *_connection_age(settings),
        ]
    )
    for service in services:
        service.add_to(server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    if settings.reflection:
        _add_reflection(server, *(service.name for service in services))
    return server


def bind(server: grpc.aio.Server, settings: Settings, tls: Tls | None) -> str:
    """Binds a server to where the settings say; returns the address with the port it got.

    Raises:
        ListenError: that cannot be listened on.
    """
    plain = settings.host.strip("[]")
    host = f"[{plain}]" if ":" in plain else plain
    address = f"{host}:{settings.port}"
    try:
        if tls:
            port = server.add_secure_port(address, _credentials(tls))
        else:
            port = server.add_insecure_port(address)
    except RuntimeError as error:
        why = _why_not(plain, settings.port)
        raise ListenError(f"cannot listen on {address}: {why}") from error
    return f"{host}:{port}"


def _connection_age(settings: Settings) -> Iterator[tuple[str, int]]:
    if settings.max_connection_age_s is not None:
        yield "grpc.max_connection_age_ms", round(1000 * settings.max_connection_age_s)
        yield "grpc.max_connection_age_grace_ms", round(1000 * settings.max_connection_age_grace_s)


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    used = tls.current()

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        before, used = used, tls.current()
        return None if used == before else _configuration(used)

    # None means no change, which grpcio's annotations lack.
    fetch: Any = changed
    return grpc.dynamic_ssl_server_credentials(
        _configuration(used), fetch, require_client_authentication=tls.asks_clients
    )


def _configuration(used: Certificates) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(used.key, used.chain)], root_certificates=used.client_ca
    )


def _why_not(host: str, port: int) -> str:
    """Returns what the system says, which gRPC does not pass on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            return "gRPC refuses it"
    except OSError as error:
        return error.strerror or str(error)


def _add_reflection(server: grpc.aio.Server, *services: str) -> None:
    names = (*services, health_service.SERVICE_NAME, reflection.SERVICE_NAME, REFLECTION_V1)
    reflection.enable_server_reflection(names, server)
    handler = grpc.stream_stream_rpc_method_handler(
        ReflectionServicer(names).ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = grpc.method_handlers_generic_handler(REFLECTION_V1, {"ServerReflectionInfo": handler})
    server.add_generic_rpc_handlers((methods,))
