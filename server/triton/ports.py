"""The ports Triton listens on, checked or chosen before it starts."""

import errno
import random
import re
import socket
from contextlib import ExitStack
from dataclasses import dataclass

from server.triton.errors import PortInUseError

LOOPBACK = "127.0.0.1"
# Triton listens only when all models are loaded. Until then its ports are free for anyone, so they
# lie below the range from which Linux takes the ports of outgoing connections.
CANDIDATES = range(20_000, 32_768)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where Triton listens: 0 takes a free port."""

    http: int = 0
    grpc: int = 0
    metrics: int = 0


FREE_PORTS = Ports()
USUAL_PORTS = Ports(http=8000, grpc=8001, metrics=8002)
"""Triton's own defaults."""


def choose_ports(ports: Ports, *, preferred: Ports = FREE_PORTS) -> Ports:
    """Replaces zeros by free ports: the preferred ones, where they are free.

    Raises:
        PortInUseError: a port that was asked for is taken.
    """
    # Held until all are known, so that no two are the same.
    with ExitStack() as held:
        return Ports(
            http=_take(ports.http, preferred.http, "HTTP", held),
            grpc=_take(ports.grpc, preferred.grpc, "gRPC", held),
            metrics=_take(ports.metrics, preferred.metrics, "metrics", held),
        )


def _take(port: int, preferred: int, service: str, held: ExitStack) -> int:
    free = [*([preferred] if preferred else []), *random.sample(CANDIDATES, 100)]
    for candidate in [port] if port else free:
        taken = held.enter_context(socket.socket())
        # As Triton does: a port of connections that have just ended can be taken, one that
        # somebody listens on cannot.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((LOOPBACK, candidate))
            # Without it two sockets may be bound to one port.
            taken.listen()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        return candidate
    raise PortInUseError(port, service)


def on_loopback(url: str) -> bool:
    """Whether a ``host:port`` names this host by its loopback interface."""
    return re.fullmatch(r"(localhost|127(\.\d+){3}|\[::1\]):\d+", url) is not None
