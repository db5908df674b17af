"""A call that came by HTTP: what surrounds it is what surrounds a gRPC call."""

# The libraries' own annotations are partial.
# pyright: reportUnknownMemberType=false

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from google.rpc import status_pb2  # pyright: ignore[reportMissingTypeStubs]
from starlette.requests import HTTPConnection

from server.api.calls import STATUS_S, Call, serving
from server.errors import InvalidFieldError
from server.http.deadlines import deadline, timeout_s
from server.http.problems import problem
from server.sessions.gateway import Gateway

END = object()
"""What is read when nothing more comes."""


class Exchange(ABC):
    """One request or socket, in the words of a gRPC context."""

    def __init__(self, connection: HTTPConnection) -> None:
        """Begins with nothing read."""
        self._connection = connection

    def peer(self) -> str:
        """Returns the client's address as gRPC writes it, so that its places are counted once."""
        client = self._connection.client
        if client is None:
            return "unknown:0"
        if ":" in client.host:
            return f"ipv6:%5B{client.host}%5D:{client.port}"
        return f"ipv4:{client.host}:{client.port}"

    def invocation_metadata(self) -> Any:
        """Returns the headers."""
        return self._connection.headers.items()

    def check_origin(self) -> None:
        """Refuses what a page of another site sends by its reader's browser.

        Raises:
            InvalidFieldError: it is such.
        """
        origin = self._connection.headers.get("origin")
        if origin and urlsplit(origin).netloc != self._connection.headers.get("host"):
            raise InvalidFieldError("origin", "is another site's; send requests from this one")

    def timeout_s(self) -> float | None:
        """Returns the seconds that the client gives its call, or None.

        Raises:
            InvalidFieldError: they cannot be read.
        """
        return timeout_s(self._connection.headers)

    @abstractmethod
    async def read(self) -> Any:
        """Returns a message, why what came is none, or END."""

    @abstractmethod
    async def write(self, message: Any) -> None:
        """Sends an answer; waits until the client's side takes it."""

    @abstractmethod
    async def fail(self, body: dict[str, Any]) -> None:
        """Ends with a problem."""

    @abstractmethod
    async def read_out(self) -> None:
        """Reads what the client still sends, until it is quiet."""


class HttpCall(Call):
    """Ends with a problem where a gRPC call ends with a status."""

    _context: Exchange

    async def read_out(self, limit_s: float) -> None:
        """Reads what the client has on its way, so that it hears the answer."""
        try:
            async with asyncio.timeout(limit_s):
                await self._context.read_out()
        except TimeoutError:
            pass

    async def fail(self, status: status_pb2.Status) -> None:
        """Ends the call with the problem that an error is."""
        try:
            async with asyncio.timeout(STATUS_S):
                await self._context.fail(problem(status, self.request_id))
        except TimeoutError:
            pass

    def cancelled_by(self) -> str:
        """Returns why a call was cancelled: a deadline ends it by an error."""
        return "CANCELLED"


async def serve(
    gateway: Gateway,
    method: str,
    exchange: Exchange,
    work: Callable[[Gateway, Call], Awaitable[None]],
    gone: Callable[[], Coroutine[None, None, None]],
) -> None:
    """Does a call's work until it is done, its deadline has passed, or its client is gone.

    Args:
        gateway: draws.
        method: what the log calls it.
        exchange: what it came by.
        work: to be done.
        gone: returns when the client is gone.
    """

    async def run() -> None:
        async with serving(exchange, method, gateway, kind=HttpCall) as call:
            exchange.check_origin()
            async with deadline(exchange.timeout_s()):
                await work(gateway, call)

    async with asyncio.TaskGroup() as tasks:
        working, leaving = tasks.create_task(run()), tasks.create_task(gone())
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        leaving.cancel()
