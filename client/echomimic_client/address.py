"""Where a server is: addresses that cannot be meant, proxies, and why nobody answers."""

import ipaddress
import os
import re
from urllib.parse import urlsplit

import grpc

from echomimic_client.errors import AddressError

PORT = 50051
"""The server's own, unless it was told another."""
PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
NO_PROXY_VARIABLES = ("no_grpc_proxy", "no_proxy")
"""What gRPC goes by, the first that is set."""
_GRPC_SCHEME = re.compile(r"(dns|unix|unix-abstract|ipv4|ipv6|vsock|xds):")
_TARGET = re.compile(r"(?P<host>\[[^\]]+\]|[^:/\[\]]+):(?P<port>\d{1,5})")
_NOT_GRPC = re.compile(
    r"HTTP/2|http1|failed to connect.*(Socket closed|Connection reset)", re.IGNORECASE | re.DOTALL
)
"""How gRPC says that the other side speaks another protocol, or hangs up on hearing this one."""


def check_target(target: str) -> None:
    """Sees that an address is host:port, or one of gRPC's own forms as unix:path.

    Raises:
        AddressError: it is not; the text tells what to write.
    """
    if _GRPC_SCHEME.match(target):
        return
    if "://" in target:
        url = urlsplit(target)
        host = url.netloc or "HOST"
        meant = host if _TARGET.fullmatch(host) else f"{host}:{PORT}"
        raise AddressError(f"{target} is a URL; write host:port alone, as {meant}")
    if target.count(":") > 1 and "[" not in target:
        raise AddressError(f"{target}: write an IPv6 address in brackets, as [{target}]:{PORT}")
    match = _TARGET.fullmatch(target)
    if match is None and ":" not in target.rpartition("]")[2]:
        raise AddressError(f"{target} has no port; write it as {target or 'HOST'}:{PORT}")
    if match is None or not 0 < int(match["port"]) < 65536:
        raise AddressError(f"{target} is no address; write host:port, as 127.0.0.1:{PORT}")


def channel_options(target: str) -> tuple[tuple[str, int], ...]:
    """Returns gRPC's options for a channel: no limit of size, and no proxy on this machine."""
    # Raw frames of large pictures go beyond gRPC's 4 MiB.
    unlimited = ("grpc.max_receive_message_length", -1)
    return (unlimited, ("grpc.enable_http_proxy", 0)) if _is_loopback(target) else (unlimited,)


def no_answer(target: str, code: grpc.StatusCode, details: str) -> str:
    """Says why a call got no answer of the server's own, and what to do."""
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return (
            f"{target} speaks gRPC but is no EchoMimic server; is it Triton's port? "
            f"The server's own port is {PORT} unless it was told another"
        )
    if code is not grpc.StatusCode.UNAVAILABLE:
        return details
    if _NOT_GRPC.search(details):
        return (
            f"{target} answers, but does not speak gRPC; is it an HTTP port, as Triton's 8000, or "
            "does it want TLS? "
            f"The server's own port is {PORT} unless it was told another"
        )
    proxy = _proxy(target)
    if proxy is not None:
        name, url = proxy
        return (
            f"no answer from {target} through the proxy {url}, which {name} names; to go without, "
            f"add the host to no_proxy"
        )
    return f"no answer from {target}; is the server running?"


def _host(target: str) -> str:
    match = _TARGET.fullmatch(target.rpartition("/")[2] if _GRPC_SCHEME.match(target) else target)
    return match["host"].strip("[]") if match else ""


def _is_loopback(target: str) -> bool:
    host = _host(target)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _proxy(target: str) -> tuple[str, str] | None:
    """Returns the variable that names a proxy for this target, and the proxy, without password."""
    host = _host(target)
    if not host or _is_loopback(target):
        return None
    excepted = next((os.environ[n] for n in NO_PROXY_VARIABLES if os.environ.get(n)), "")
    if any(host.endswith(part.strip()) for part in excepted.split(",") if part.strip()):
        return None
    name = next((name for name in PROXY_VARIABLES if os.environ.get(name)), None)
    if name is None:
        return None
    return name, os.environ[name].rpartition("@")[2]
