"""channelz (gRFC A14): which connections and calls gRPC has, for whoever operates the server."""

# The library's own annotations are missing, and not every environment has it.
# pyright: reportMissingImports=false, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from typing import Any

import grpc
from grpc_channelz.v1 import channelz_pb2
from grpc_channelz.v1.channelz import ChannelzServicer

from server.api.calls import Call
from server.api.methods import add_service
from server.errors import InvalidFieldError
from server.sessions.gateway import Gateway

channelz: Any = channelz_pb2
SERVICE = channelz.DESCRIPTOR.services_by_name["Channelz"]


class ChannelzService:
    """`grpc.channelz.v1.Channelz`.

    A call of it is one like any other, since it tells clients' addresses: it takes the permission
    to ask what the server is.
    """

    name: str = SERVICE.full_name

    def __init__(self, gateway: Gateway) -> None:
        """Serves a gateway."""
        self._gateway = gateway

    def add_to(self, server: grpc.aio.Server) -> None:
        """Adds the methods to a server that has not started."""
        add_service(server, SERVICE, self._gateway, self._serve)

    async def _serve(self, method: str, call: Call) -> None:
        asked = SERVICE.methods_by_name[method].input_type
        kind = getattr(channelz, asked.name)
        request = await call.read_one(kind, self._gateway.offer.settings.start_timeout_s)
        problem = _Problem()
        answer = getattr(ChannelzServicer, method)(request, problem)
        if answer is None:
            raise InvalidFieldError(asked.fields[0].name, problem.text)
        await call.send(answer)


class _Problem:
    """Takes, in the place of a call, why there is no answer."""

    text = ""

    def set_code(self, code: grpc.StatusCode) -> None:
        """Is told what the call would end with."""

    def set_details(self, details: str) -> None:
        """Is told why."""
        self.text = f"is of nothing that there is: {details}"
