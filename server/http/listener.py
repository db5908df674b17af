"""Where HTTP is listened for, in the gateway's own loop."""

import asyncio
import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from ssl import SSLContext

import uvicorn
from fastapi import FastAPI

from server.access.tls import Tls
from server.api.listener import ListenError
from server.http.bodies import MAX_JSON_BYTES
from server.settings import Settings

MAX_CONNECTIONS = 512
"""More are turned away; calls have places of their own."""
LAST_WORDS_S = 1
"""How long answers to what was ended may take to leave."""


class _Server(uvicorn.Server):
    """Leaves the signals to the process."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class HttpListener:
    """A port and what answers there."""

    def __init__(self, app: FastAPI, settings: Settings, port: int, tls: Tls | None = None) -> None:
        """Binds the address of gRPC, with a port of its own; nothing is answered yet.

        Raises:
            ListenError: that cannot be listened on.
        """
        host = settings.host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        shown = f"[{host}]" if ":" in host else host
        try:
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise ListenError(f"cannot listen for HTTP on {shown}:{port}: {why}") from error
        self.url = f"{'https' if tls else 'http'}://{shown}:{self._socket.getsockname()[1]}"
        self._server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                # The calls' own log says what goes wrong.
                log_level="critical",
                access_log=False,
                # Whoever is behind a proxy would otherwise choose the address it is counted by.
                proxy_headers=False,
                server_header=False,
                http="h11",
                ws="websockets-sansio",
                ws_max_size=MAX_JSON_BYTES,
                ws_max_queue=1,
                ws_per_message_deflate=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_graceful_shutdown=LAST_WORDS_S,
                ssl_context_factory=_contexts(tls) if tls else None,
            )
        )
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Answers until `stop`."""
        try:
            await self._server.serve([self._socket])
        finally:
            self._over.set()

    async def stop(self) -> None:
        """Ends what is left, sockets with 1012; calls that hold places have been ended before."""
        self._server.should_exit = True
        await self._over.wait()


def _contexts(tls: Tls) -> Callable[[uvicorn.Config, Callable[[], SSLContext]], SSLContext]:
    return lambda _config, _default: tls.context()
