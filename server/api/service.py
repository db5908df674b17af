"""The avatar service: each method hands over to the module that does it."""

# The library's own annotations are partial.
# pyright: reportUnknownMemberType=false

from collections.abc import Awaitable, Callable

import grpc
from echomimic.v1 import avatar_service_pb2 as pb

from server.api import responses
from server.api.animate import animate
from server.api.avatars import create_avatar, delete_avatar, get_avatar, list_avatars
from server.api.calls import Call
from server.api.judgements import judgement
from server.api.methods import add_service
from server.api.render import render
from server.api.requests import read_portrait
from server.sessions.gateway import Gateway

SERVICE = pb.DESCRIPTOR.services_by_name["AvatarService"]


class AvatarService:
    """`echomimic.v1.AvatarService`; the proto file is its documentation."""

    name: str = SERVICE.full_name

    def __init__(self, gateway: Gateway) -> None:
        """Serves a gateway."""
        self._gateway = gateway
        self._methods: dict[str, Callable[[Gateway, Call], Awaitable[None]]] = {
            "Animate": animate,
            "Render": render,
            "GetServerInfo": _get_server_info,
            "CheckPortrait": check_portrait,
            "CreateAvatar": create_avatar,
            "GetAvatar": get_avatar,
            "ListAvatars": list_avatars,
            "DeleteAvatar": delete_avatar,
        }

    def add_to(self, server: grpc.aio.Server) -> None:
        """Adds the methods to a server that has not started."""
        add_service(server, SERVICE, self._gateway, self._serve)

    async def _serve(self, method: str, call: Call) -> None:
        await self._methods[method](self._gateway, call)


async def check_portrait(gateway: Gateway, call: Call) -> None:
    """Serves one CheckPortrait call."""
    with gateway.admission.opening(call.caller):
        request = await call.read_one(
            pb.CheckPortraitRequest, gateway.offer.settings.start_timeout_s
        )
        sitter, size = read_portrait(request, gateway.offer)
    async with gateway.admission.place(call.caller):
        await call.send(judgement(await gateway.judge(sitter, size)))


async def _get_server_info(gateway: Gateway, call: Call) -> None:
    await call.read(pb.GetServerInfoRequest, gateway.offer.settings.start_timeout_s)
    own = gateway.limits_of(call.caller)
    await call.send(responses.server_info(gateway.offer, gateway.window_times, own))
