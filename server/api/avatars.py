"""The calls about avatars: portraits that are prepared once, for many streams."""

# The library's own annotations are partial.
# pyright: reportUnknownMemberType=false

from echomimic.v1 import avatar_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from server.api import responses
from server.api.calls import Call
from server.api.requests import read_portrait
from server.audio.clock import NANOSECONDS
from server.sessions.gateway import Gateway
from server.sessions.sitter import Avatar


async def create_avatar(gateway: Gateway, call: Call) -> None:
    """Serves one CreateAvatar call."""
    with gateway.admission.opening(call.caller):
        request = await call.read_one(pb.CreateAvatarRequest, _timeout_s(gateway))
        sitter, frame_px = read_portrait(request, gateway.offer)
    async with gateway.admission.place(call.caller):
        avatar, notices = await gateway.avatars.create(call.caller, sitter, frame_px)
        warnings = [responses.warning(notice) for notice in notices]
        answer = pb.CreateAvatarResponse(avatar=_message(gateway, avatar), warnings=warnings)
        await call.send(answer)


async def get_avatar(gateway: Gateway, call: Call) -> None:
    """Serves one GetAvatar call."""
    request = await call.read_one(pb.GetAvatarRequest, _timeout_s(gateway))
    avatar = await find(gateway, call, request.avatar_id)
    await call.send(pb.GetAvatarResponse(avatar=_message(gateway, avatar)))


async def list_avatars(gateway: Gateway, call: Call) -> None:
    """Serves one ListAvatars call."""
    await call.read_one(pb.ListAvatarsRequest, _timeout_s(gateway))
    avatars = [_message(gateway, avatar) for avatar in await gateway.avatars.of(call.caller)]
    await call.send(pb.ListAvatarsResponse(avatars=avatars))


async def delete_avatar(gateway: Gateway, call: Call) -> None:
    """Serves one DeleteAvatar call."""
    request = await call.read_one(pb.DeleteAvatarRequest, _timeout_s(gateway))
    await gateway.avatars.delete(await find(gateway, call, request.avatar_id))
    await call.send(pb.DeleteAvatarResponse())


async def find(gateway: Gateway, call: Call, avatar_id: str, field: str = "avatar_id") -> Avatar:
    """Returns the caller's avatar of an id that a field has.

    Raises:
        AvatarNotFoundError: they have none of that id.
    """
    return await gateway.avatars.find(call.caller, avatar_id, field=field)


async def stated(
    gateway: Gateway, call: Call, message: pb.Start | pb.RenderRequest, prefix: str
) -> Avatar | None:
    """Returns the avatar that a message names in place of a portrait, if it does.

    Raises:
        AvatarNotFoundError: the caller has none of that id.
    """
    if message.WhichOneof("avatar") != "avatar_id":
        return None
    return await find(gateway, call, message.avatar_id, f"{prefix}avatar_id")


def _timeout_s(gateway: Gateway) -> float:
    return gateway.offer.settings.start_timeout_s


def _message(gateway: Gateway, avatar: Avatar) -> pb.Avatar:
    width, height = avatar.size
    return pb.Avatar(
        avatar_id=avatar.avatar_id,
        width=width,
        height=height,
        create_time=_time(avatar.created_s),
        expire_time=_time(gateway.avatars.expires_s(avatar)),
    )


def _time(since_1970_s: float) -> Timestamp:
    seconds, nanos = divmod(round(since_1970_s * NANOSECONDS), NANOSECONDS)
    return Timestamp(seconds=seconds, nanos=nanos)
