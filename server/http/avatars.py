"""Avatars by HTTP: prepared by a POST, asked for and forgotten by their ids."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from echomimic.v1 import avatar_service_pb2 as pb
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.types import Send

from server.api.avatars import create_avatar
from server.api.calls import Call
from server.http.answer import Answer
from server.http.call import END
from server.http.post import Post
from server.http.requests import read_create
from server.sessions.gateway import Gateway


class Create(Post):
    """Answers with the avatar that a portrait has become."""

    async def read_request(self, body: Mapping[str, Any]) -> pb.CreateAvatarRequest:
        """Returns what a body asks for."""
        return read_create(body)

    async def work(self, gateway: Gateway, call: Call) -> None:
        """Prepares the portrait."""
        await create_avatar(gateway, call)

    async def write(self, message: pb.CreateAvatarResponse) -> None:
        """Sends it all."""
        await self._add_message(message)


class Asked(Answer):
    """Answers what a path asks for, without a body."""

    def __init__(
        self,
        request: Request,
        send: Send,
        message: Message,
        work: Callable[[Gateway, Call], Awaitable[None]],
    ) -> None:
        """Begins with nothing sent.

        Args:
            request: of the client.
            send: sends.
            message: what gRPC's clients would send.
            work: answers it.
        """
        super().__init__(request, send)
        self._message = message
        self._work = work

    async def work(self, gateway: Gateway, call: Call) -> None:
        """Answers it."""
        await self._work(gateway, call)

    async def read(self) -> Any:
        """Returns the message; then nothing more comes."""
        if self._body_over.is_set():
            return END
        self._body_over.set()
        return self._message

    async def write(self, message: Message) -> None:
        """Sends it all."""
        await self._add_message(message)
