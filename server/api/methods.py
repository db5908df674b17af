"""How the methods of the service meet gRPC: every one as a stream of messages in and out.

On the wire a single message is a stream of one. Registered so, a method can ask for a place before
it reads a large message, and can refuse by name what is no message at all.
"""

# The library's own annotations are partial.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from server.api.calls import Call, Context, serving
from server.errors import InvalidFieldError
from server.sessions.gateway import Gateway

Serve = Callable[[str, Call], Awaitable[None]]


def add_service(
    server: grpc.aio.Server, service: ServiceDescriptor, gateway: Gateway, serve: Serve
) -> None:
    """Adds a service to a server.

    Args:
        server: not started.
        service: its methods and their messages.
        gateway: what the methods are of.
        serve: does what a method, by its name, shall do with a call.
    """
    handlers = {method.name: _handler(method, gateway, serve) for method in service.methods}
    generic = grpc.method_handlers_generic_handler(service.full_name, handlers)
    server.add_generic_rpc_handlers((generic,))


def _handler(method: MethodDescriptor, gateway: Gateway, serve: Serve) -> Any:
    async def behave(_requests: AsyncIterator[Message], context: Context) -> None:
        async with serving(context, method.name, gateway) as call:
            await serve(method.name, call)

    return grpc.stream_stream_rpc_method_handler(
        behave, _reader(method.input_type.name, GetMessageClass(method.input_type)), _write
    )


def _reader(name: str, kind: type[Message]) -> Callable[[bytes], Message | InvalidFieldError]:
    """Returns what reads a message, or returns why it cannot: raised here it would be INTERNAL."""

    def read(data: bytes) -> Message | InvalidFieldError:
        try:
            return kind.FromString(data)
        except DecodeError:
            problem = f"cannot be read as {name}: no protobuf, or a string that is not UTF-8"
            return InvalidFieldError("message", problem)

    return read


def _write(message: Message) -> bytes:
    return message.SerializeToString()
