"""What bodies ask for, checked, as the messages that gRPC's clients send."""

# The libraries' own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import base64
import binascii
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from echomimic.v1 import avatar_service_pb2 as pb
from google.protobuf import json_format
from google.protobuf.message import Message
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from server.api.requests import AUDIO_ENCODINGS
from server.audio.files import read_file
from server.audio.pcm import AudioFormat, SampleEncoding
from server.errors import InvalidFieldError
from server.pictures.encoding import FrameEncoding, encode_picture
from server.settings import Settings

SETTINGS_FIELDS = (
    "client_session_id",
    "video_format",
    "generation",
    "exact_clip",
    "portrait",
    "blink_over_speech",
)
"""Fields of a RenderRequest that `settings` may hold."""
B = TypeVar("B", bound=BaseModel)
M = TypeVar("M", bound=Message)


def _unpacked(value: Any) -> Any:
    """Returns what a part of a multipart body holds as JSON."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


class Asked(BaseModel, extra="forbid"):
    """What may be asked for besides a picture and its speech."""

    audio_file: str | None = Field(
        None, description="Name of a file in the server's own folder, in place of `audio`."
    )
    sample_rate_hz: int | None = Field(
        None, description="Says that `audio` is bare PCM of that rate; left out for files."
    )
    encoding: Literal["s16le", "f32le"] = Field("s16le", description="Of bare PCM.")
    channels: int = Field(1, description="Of bare PCM: 1, or 2 interleaved.")
    frame_index: int = Field(
        0, ge=0, description="Which frame `/render` answers with, from 0, at the rate asked for."
    )
    settings: Annotated[dict[str, Any], BeforeValidator(_unpacked)] = Field(
        {}, description=f"{', '.join(SETTINGS_FIELDS)}: a RenderRequest's, in protobuf's JSON."
    )


class RenderBody(Asked):
    """The JSON of `/render`."""

    image: str | list[Any] = Field(
        description="Rows of pixels [red, green, blue], 0 to 255; or a picture file in base64."
    )
    audio: str | None = Field(None, description="WAV, FLAC or Ogg, or bare PCM, in base64.")


class RenderParts(Asked):
    """The multipart body of `/render`."""

    image: bytes = Field(description="A picture file.", json_schema_extra={"format": "binary"})
    audio: bytes | None = Field(
        None, description="WAV, FLAC or Ogg, or bare PCM.", json_schema_extra={"format": "binary"}
    )


class PortraitParts(BaseModel, extra="forbid"):
    """The multipart body of `/v1/portraits/check`, and of `/v1/avatars`."""

    portrait: bytes = Field(description="A picture file.", json_schema_extra={"format": "binary"})
    strict: bool = Field(False, description="Whether warnings make it unusable.")
    framing: Literal["head_and_shoulders"] | None = Field(
        None, description="Which part is to be shown; by default as much as has the frame's shape."
    )
    width: int = Field(0, ge=0, lt=2**31, description="Of the frames to come; 0 is the default.")
    height: int = Field(0, ge=0, lt=2**31, description="Likewise.")


class AnimateParts(Asked):
    """The multipart body of `/v1/animate`."""

    portrait: bytes | None = Field(
        None, description="A picture file.", json_schema_extra={"format": "binary"}
    )
    avatar_id: str | None = Field(
        None, description="In place of `portrait`: what `POST /v1/avatars` has prepared."
    )
    audio: bytes | None = Field(
        None, description="WAV, FLAC or Ogg, or bare PCM.", json_schema_extra={"format": "binary"}
    )


async def read_still(body: Mapping[str, Any], settings: Settings) -> tuple[pb.RenderRequest, Asked]:
    """Reads what `/render` is asked for: its multipart body holds files' bytes, its JSON none.

    Raises:
        InvalidFieldError: a field cannot be used.
        LimitError: the sound is too long.
    """
    if isinstance(body.get("image"), bytes):
        parts = checked(RenderParts, body)
        asked, image, audio = parts, parts.image, parts.audio
    else:
        asked = checked(RenderBody, body)
        image = await asyncio.to_thread(_picture, asked.image)
        audio = None if asked.audio is None else _base64(asked.audio, "audio")
    request = await asyncio.to_thread(_request, asked, audio, settings)
    request.portrait.image = image
    request.output = pb.RENDER_OUTPUT_FRAMES
    return request, asked


async def read_clip(
    body: Mapping[str, Any], settings: Settings, output: pb.RenderOutput
) -> pb.RenderRequest:
    """Reads what `/v1/animate` is asked for.

    Raises:
        InvalidFieldError: a field cannot be used.
        LimitError: the sound is too long.
    """
    parts = checked(AnimateParts, body)
    request = await asyncio.to_thread(_request, parts, parts.audio, settings)
    if parts.portrait is not None and parts.avatar_id is not None:
        raise InvalidFieldError("portrait", "was sent with `avatar_id`; send one of them")
    if parts.portrait is not None:
        request.portrait.image = parts.portrait
    elif parts.avatar_id is None:
        raise InvalidFieldError("portrait", "is missing; send a picture file, or `avatar_id`")
    elif request.HasField("portrait"):
        problem = "is stated where an avatar is created; leave it out"
        raise InvalidFieldError("settings.portrait", problem)
    else:
        request.avatar_id = parts.avatar_id
    request.output = output
    return request


def read_check(body: Mapping[str, Any]) -> pb.CheckPortraitRequest:
    """Reads what `/v1/portraits/check` is asked for.

    Raises:
        InvalidFieldError: a field cannot be used.
    """
    parts = checked(PortraitParts, body)
    return pb.CheckPortraitRequest(
        portrait=_portrait(parts), width=parts.width, height=parts.height
    )


def read_create(body: Mapping[str, Any]) -> pb.CreateAvatarRequest:
    """Reads what `/v1/avatars` is asked to prepare.

    Raises:
        InvalidFieldError: a field cannot be used.
    """
    parts = checked(PortraitParts, body)
    return pb.CreateAvatarRequest(portrait=_portrait(parts), width=parts.width, height=parts.height)


def _portrait(parts: PortraitParts) -> pb.Portrait:
    framing = pb.PORTRAIT_FRAMING_UNSPECIFIED
    if parts.framing is not None:
        framing = pb.PORTRAIT_FRAMING_HEAD_AND_SHOULDERS
    return pb.Portrait(image=parts.portrait, strict=parts.strict, framing=framing)


def read_message(text: Mapping[str, Any]) -> pb.AnimateRequest:
    """Reads a message of a stream, in protobuf's JSON.

    Raises:
        InvalidFieldError: it is none.
    """
    return _parsed(text, pb.AnimateRequest(), "message")


def checked(kind: type[B], body: Mapping[str, Any]) -> B:
    """Returns a body as its model.

    Raises:
        InvalidFieldError: it is none.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0])[:100] if first["loc"] else "body"
        raise InvalidFieldError(field, first["msg"][:200]) from error


def _parsed(value: Mapping[str, Any], message: M, field: str) -> M:
    try:
        return json_format.ParseDict(dict(value), message)
    # Not all that it trips over is a ParseError.
    except Exception as error:
        raise InvalidFieldError(field, f"is no {type(message).__name__}: {error}"[:300]) from error


def _request(asked: Asked, audio: bytes | None, settings: Settings) -> pb.RenderRequest:
    request = _parsed(asked.settings, pb.RenderRequest(), "settings")
    for described, _ in request.ListFields():
        if described.name not in SETTINGS_FIELDS:
            problem = f"cannot be set here; settings hold {', '.join(SETTINGS_FIELDS)}"
            raise InvalidFieldError(f"settings.{described.name}", problem)
    if request.portrait.image:
        raise InvalidFieldError("settings.portrait.image", "is a part of its own: send the file")
    field = "audio" if asked.audio_file is None else "audio_file"
    if asked.audio_file is not None:
        if audio is not None:
            raise InvalidFieldError(field, "was sent with `audio`; send one of them")
        audio = _file_in(settings.http_audio_folder, asked.audio_file, settings.max_message_bytes)
    if audio is None:
        raise InvalidFieldError("audio", "is missing; send WAV, FLAC, Ogg, or PCM with its rate")
    if asked.sample_rate_hz is None:
        found, audio = read_file(audio, longest_s=settings.max_render_audio_s, field=field)
    else:
        found = _stated_format(asked.encoding, asked.sample_rate_hz, asked.channels)
    encodings = {ours: theirs for theirs, ours in AUDIO_ENCODINGS.items()}
    request.audio_format.encoding = encodings[found.encoding]
    request.audio_format.sample_rate_hz = found.sample_rate_hz
    request.audio_format.channels = found.channels
    request.audio = audio
    return request


def _stated_format(encoding: SampleEncoding, rate: int, channels: int) -> AudioFormat:
    # The message's own fields hold 32 bits; what is out of the range offered is refused by name.
    for field, value in (("sample_rate_hz", rate), ("channels", channels)):
        if not 0 <= value < 2**31:
            raise InvalidFieldError(field, f"is {value}"[:100])
    return AudioFormat(encoding, rate, channels)


def _base64(text: str, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidFieldError(field, "is no base64") from error


def _picture(image: str | list[Any]) -> bytes:
    """Returns the file of a picture; rows of pixels become a PNG, which loses nothing."""
    if isinstance(image, str):
        return _base64(image, "image")
    try:
        pixels = np.array(image)
    except (ValueError, OverflowError, TypeError) as error:
        raise InvalidFieldError("image", "has rows or pixels of different lengths") from error
    if (
        pixels.dtype.kind not in "iuf"
        or pixels.ndim != 3
        or pixels.shape[2] != 3
        or not pixels.size
    ):
        raise InvalidFieldError("image", "is no list of rows of pixels of three numbers")
    if not ((pixels >= 0) & (pixels <= 255)).all():
        raise InvalidFieldError("image", "has numbers that are not between 0 and 255")
    return encode_picture(pixels.astype(np.uint8), FrameEncoding.PNG, 0)


def _file_in(folder: Path | None, name: str, limit: int) -> bytes:
    """Returns a file of the folder itself: no path, no link, nothing but a regular file."""
    field = "audio_file"
    if folder is None:
        problem = "cannot be used here: the server has no http_audio_folder; send `audio`"
        raise InvalidFieldError(field, problem)
    missing = InvalidFieldError(field, "is no file of the server's folder; send a name, no path")
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise missing
    try:
        opened = _opened_in(folder, name)
    except (OSError, ValueError) as error:
        raise missing from error
    found = os.fstat(opened)
    if not stat.S_ISREG(found.st_mode):
        os.close(opened)
        raise missing
    with os.fdopen(opened, "rb") as file:
        if found.st_size > limit:
            raise InvalidFieldError(field, f"is longer than {limit} bytes")
        return file.read(limit)


def _opened_in(folder: Path, name: str) -> int:
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(name, flags, dir_fd=directory)
    finally:
        os.close(directory)
