"""One answer to a request: sent bit by bit, or a problem in its place."""

# The libraries' own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.requests import ClientDisconnect, Request
from starlette.types import Send

from server.api.calls import Call
from server.http import problems
from server.http.call import Exchange, serve
from server.sessions.gateway import Gateway


class Answer(Exchange):
    """A request, and the answer to it as far as it has been sent."""

    def __init__(self, request: Request, send: Send) -> None:
        """Begins with nothing read and nothing sent."""
        super().__init__(request)
        self._request = request
        self._send = send
        self._body_over = asyncio.Event()
        self._is_left = False
        self._begun = False
        self._failed = False

    @abstractmethod
    async def work(self, gateway: Gateway, call: Call) -> None:
        """Does what is asked for."""

    async def run(self, gateway: Gateway) -> None:
        """Answers the request."""
        method = f"{self._request.method} {self._request.scope['route'].path}"
        await serve(gateway, method, self, self.work, self._gone)
        if self._begun and not self._failed:
            await self._add(self._last_bytes(), more=False)

    async def read_out(self) -> None:
        """Reads the rest of a body that has been refused, if there is more of it."""
        if self._body_over.is_set():
            return
        try:
            async for _ in self._request.stream():
                pass
        except ClientDisconnect:
            self._is_left = True
        except RuntimeError:
            # All of it had come, and could not be read.
            pass

    async def fail(self, body: dict[str, Any]) -> None:
        """Answers with a problem; an answer that has begun is broken off."""
        self._failed = True
        if not self._begun:
            headers = problems.headers(body)
            if not self._body_over.is_set():
                # What is left of the body is never read.
                headers["connection"] = "close"
            await self._begin(headers, body["status"])
            await self._add(json.dumps(body).encode(), more=False)

    async def _gone(self) -> None:
        await self._body_over.wait()
        while not self._is_left:
            self._is_left = (await self._request.receive())["type"] == "http.disconnect"

    async def _begin(self, headers: Mapping[str, str], status: int = 200) -> None:
        if not self._begun:
            self._begun = True
            raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def _add(self, data: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    def _last_bytes(self) -> bytes:
        return b""

    async def _add_message(self, message: Message) -> None:
        """Sends a whole message in protobuf's JSON."""
        data = json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        await self._begin({"content-type": "application/json"})
        await self._add(json.dumps(data).encode())
