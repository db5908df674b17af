"""The gRPC service: each method hands over to the module that does it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc

from server.api import responses
from server.api.animate import animate_stream, hearing_out
from server.api.calls import Call, Context, serving
from server.api.render import render
from server.errors import NotBuiltError
from server.sessions.gateway import Gateway


class AvatarService(pb_grpc.AvatarServiceServicer):
    """`echomimic.v1.AvatarService`; the proto file is its documentation."""

    def __init__(self, gateway: Gateway, on_engine_failure: Callable[[], None]) -> None:
        """Serves a gateway; says when a call could not use the engine."""
        self._gateway = gateway
        self._on_engine_failure = on_engine_failure

    async def Animate(  # noqa: N802, D102
        self, request_iterator: AsyncIterator[pb.AnimateRequest], context: Context
    ) -> None:
        async with self._serving(context, "Animate") as call, hearing_out(request_iterator):
            with self._gateway.slot():
                await animate_stream(self._gateway, call, request_iterator)

    async def Render(self, request: pb.RenderRequest, context: Context) -> None:  # noqa: N802, D102
        async with self._serving(context, "Render") as call:
            with self._gateway.slot():
                await render(self._gateway, call, request)

    async def GetServerInfo(  # noqa: N802, D102
        self, request: pb.GetServerInfoRequest, context: Context
    ) -> pb.GetServerInfoResponse:
        return responses.server_info(self._gateway.offer)

    async def CreateAvatar(self, request: pb.CreateAvatarRequest, context: Context) -> None:  # noqa: N802, D102
        async with self._serving(context, "CreateAvatar"):
            raise NotBuiltError("CreateAvatar")

    async def DeleteAvatar(self, request: pb.DeleteAvatarRequest, context: Context) -> None:  # noqa: N802, D102
        async with self._serving(context, "DeleteAvatar"):
            raise NotBuiltError("DeleteAvatar")

    def _serving(self, context: Context, method: str) -> AbstractAsyncContextManager[Call]:
        return serving(
            context,
            method,
            read_timeout_s=self._gateway.offer.settings.read_timeout_s,
            on_engine_failure=self._on_engine_failure,
        )
