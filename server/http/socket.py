"""A WebSocket that is an Animate stream: its messages in protobuf's JSON, audio and frames bare."""

# The libraries' own annotations are partial.
# pyright: reportUnknownMemberType=false

import asyncio
import json
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from echomimic.v1 import avatar_service_pb2 as pb
from google.protobuf import json_format
from starlette.websockets import WebSocket, WebSocketDisconnect

from server.api.animate import animate
from server.http import problems
from server.http.bodies import parsed_json
from server.http.call import Exchange, serve
from server.http.requests import read_message
from server.sessions.gateway import Gateway

PROTOCOL = "echomimic.v1"
"""A browser that names a key among its protocols has to name one that can be agreed on, too."""
WAITING_MESSAGES = 2
"""Of those that a client has sent; the next ones wait in the network."""
CLOSED = (WebSocketDisconnect, RuntimeError)
"""What Starlette raises where nothing can be sent any more."""


class Socket(Exchange):
    """One connection."""

    def __init__(self, websocket: WebSocket) -> None:
        """Begins with a connection that is not accepted."""
        super().__init__(websocket)
        self._websocket = websocket
        self._came: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue(WAITING_MESSAGES)
        self._failed = False

    async def run(self, gateway: Gateway) -> None:
        """Serves the stream."""
        offered = self._websocket.scope["subprotocols"]
        await self._websocket.accept(PROTOCOL if PROTOCOL in offered else None)
        await serve(gateway, "WebSocket /v1/stream", self, animate, self._gone)
        if not self._failed:
            with suppress(*CLOSED):
                await self._websocket.close()

    async def read(self) -> Any:
        """Returns the client's next message; bytes are audio."""
        came = await self._came.get()
        if (data := came.get("bytes")) is not None:
            return pb.AnimateRequest(audio=pb.AudioChunk(data=data))
        return read_message(await parsed_json(came["text"], "message"))

    async def write(self, message: pb.AnimateResponse) -> None:
        """Sends an answer; a frame's picture follows it, bare."""
        picture = message.frame.data if message.WhichOneof("message") == "frame" else None
        if picture is not None:
            message.frame.ClearField("data")
        text = json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        try:
            await self._websocket.send_text(json.dumps(text))
            if picture is not None:
                await self._websocket.send_bytes(picture)
        except CLOSED:
            # Nobody is there any more; `_gone` says so as well.
            raise asyncio.CancelledError from None

    async def fail(self, body: dict[str, Any]) -> None:
        """Says the problem and closes."""
        self._failed = True
        with suppress(*CLOSED):
            await self._websocket.send_text(json.dumps({"error": body}))
            await self._websocket.close(problems.close_code(body), body["reason"])

    async def read_out(self) -> None:
        """Reads nothing: closing does."""

    async def _gone(self) -> None:
        while (message := await self._websocket.receive())["type"] != "websocket.disconnect":
            await self._came.put(message)
