"""A POST: one body in, one answer out, which is a frame, a film, or frames one after the other."""

# The libraries' own annotations are partial.
# pyright: reportUnknownMemberType=false

import asyncio
import base64
import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from echomimic.v1 import avatar_service_pb2 as pb
from starlette.requests import ClientDisconnect, Request
from starlette.types import Send

from server.api.calls import Call
from server.api.frames import Frames
from server.api.render import render
from server.api.requests import read_render
from server.api.service import check_portrait
from server.errors import InvalidFieldError
from server.http.answer import Answer
from server.http.bodies import read_body
from server.http.call import END
from server.http.requests import Asked, read_check, read_clip, read_still
from server.sessions.conversation import converse
from server.sessions.events import Frame
from server.sessions.gateway import Gateway
from server.sessions.speech import AudioLimits
from server.settings import Settings

BOUNDARY = "frame"
JPEGS = "multipart/x-mixed-replace"
FILMS = {
    "video/mp4": pb.RENDER_OUTPUT_MP4,
    "video/webm": pb.RENDER_OUTPUT_WEBM,
    "image/gif": pb.RENDER_OUTPUT_GIF,
}
"""Of several that are accepted, the first of these."""
_ENCODING = "FRAME_ENCODING_"


class Post(Answer):
    """A body in, one answer out."""

    def __init__(self, request: Request, send: Send, settings: Settings) -> None:
        """Begins with nothing read and nothing sent."""
        super().__init__(request, send)
        self._settings = settings

    @abstractmethod
    async def read_request(self, body: Mapping[str, Any]) -> Any:
        """Returns what a body asks for."""

    async def work(self, gateway: Gateway, call: Call) -> None:
        """Renders."""
        await render(gateway, call)

    async def read(self) -> Any:
        """Returns the request that the body is; then nothing more comes."""
        if self._body_over.is_set():
            return END
        try:
            body = await read_body(self._request, self._settings.max_message_bytes)
        except ClientDisconnect:
            self._is_left = True
            self._body_over.set()
            return await asyncio.Event().wait()
        self._body_over.set()
        return await self.read_request(body)


class Film(Post):
    """Answers with a film of the kind that `Accept` names, an MP4 unless it names another.

    With ``live=true`` in the query an MP4 is fragmented, and comes while it is made.
    """

    async def read_request(self, body: Mapping[str, Any]) -> pb.RenderRequest:
        """Returns what a body asks for."""
        output, _ = self._kind()
        return await read_clip(body, self._settings, output)

    async def write(self, message: pb.RenderResponse) -> None:
        """Sends what is of the film."""
        data = message.mp4_chunk.data or message.file_chunk.data
        if data:
            await self._begin({"content-type": self._kind()[1]})
            await self._add(data)

    def _kind(self) -> tuple[pb.RenderOutput, str]:
        accept = self._request.headers.get("accept", "")
        output, media_type = next(
            ((output, kind) for kind, output in FILMS.items() if kind in accept),
            (pb.RENDER_OUTPUT_MP4, "video/mp4"),
        )
        live = self._request.query_params.get("live", "false")
        if live not in ("true", "false"):
            raise InvalidFieldError("live", "is neither true nor false")
        if live == "false":
            return output, media_type
        if output != pb.RENDER_OUTPUT_MP4:
            raise InvalidFieldError("live", f"is for video/mp4, and Accept names {media_type}")
        return pb.RENDER_OUTPUT_FRAGMENTED_MP4, media_type


class Pictures(Post):
    """Answers with frames, each in the place of the one before."""

    async def read_request(self, body: Mapping[str, Any]) -> pb.RenderRequest:
        """Returns what a body asks for."""
        return await read_clip(body, self._settings, pb.RENDER_OUTPUT_FRAMES)

    async def write(self, message: pb.RenderResponse) -> None:
        """Sends what is a frame."""
        if message.WhichOneof("message") != "frame":
            return
        await self._begin({"content-type": f"{JPEGS}; boundary={BOUNDARY}"})
        frame = message.frame
        kind = pb.FrameEncoding.Name(frame.encoding).removeprefix(_ENCODING).lower()
        of = "video" if frame.encoding == pb.FRAME_ENCODING_H264 else "image"
        head = (
            f"--{BOUNDARY}\r\nContent-Type: {of}/{kind}\r\nContent-Length: {len(frame.data)}\r\n"
            f"X-Frame-Index: {frame.index}\r\nX-Audio-Sample: {frame.first_audio_sample}\r\n\r\n"
        )
        await self._add(head.encode() + frame.data + b"\r\n")

    def _last_bytes(self) -> bytes:
        return f"--{BOUNDARY}--\r\n".encode()


class Check(Post):
    """Answers with what there is to say of a portrait."""

    async def read_request(self, body: Mapping[str, Any]) -> pb.CheckPortraitRequest:
        """Returns what a body asks for."""
        return read_check(body)

    async def work(self, gateway: Gateway, call: Call) -> None:
        """Looks at the portrait."""
        await check_portrait(gateway, call)

    async def write(self, message: pb.CheckPortraitResponse) -> None:
        """Sends it all."""
        await self._add_message(message)


class Still(Post):
    """Answers with one frame of a clip, in the form that the picture came in."""

    _asked: Asked
    _as_rows = False

    async def read_request(self, body: Mapping[str, Any]) -> pb.RenderRequest:
        """Returns what a body asks for."""
        request, self._asked = await read_still(body, self._settings)
        self._as_rows = isinstance(body["image"], list)
        if self._as_rows:
            request.video_format.encoding = pb.FRAME_ENCODING_RGB
        return request

    async def work(self, gateway: Gateway, call: Call) -> None:
        """Renders as far as the frame that is asked for."""
        settings = gateway.offer.settings
        with gateway.admission.opening(call.caller):
            request = await call.read_one(pb.RenderRequest, settings.start_timeout_s)
            # A picture is a part of the body: there is no avatar.
            job = read_render(request, gateway.offer, None)
        if job.exact is not None:
            raise InvalidFieldError("settings.exact_clip", "is for whole clips: /v1/animate")
        longest_s = settings.max_render_audio_s
        limits = AudioLimits(longest_s, "max_render_audio", max_buffered_s=longest_s)
        async with (
            gateway.admission.place(call.caller),
            converse(gateway, job, limits) as conversation,
        ):
            call.describe(conversation.job, conversation.report)
            await conversation.push_audio(request.audio, field="audio")
            await conversation.end()
            total = gateway.total_frames(job, conversation.report.audio_samples)
            if self._asked.frame_index >= total:
                raise InvalidFieldError("frame_index", f"is past the last of {total} frames")
            async for event in conversation.events():
                if isinstance(event, Frame) and event.index == self._asked.frame_index:
                    frames = Frames(conversation.job.video_format, call.recorder)
                    await call.send(pb.RenderResponse(frame=await frames.message(event)))
                    call.frame_sent(conversation.report, event)
                    return

    async def write(self, message: pb.RenderResponse) -> None:
        """Sends the frame."""
        data = await asyncio.to_thread(self._json, message.frame)
        await self._begin({"content-type": "application/json"})
        await self._add(data)

    def _json(self, frame: pb.Frame) -> bytes:
        if self._as_rows:
            pixels = np.frombuffer(frame.data, np.uint8)
            picture: Any = pixels.reshape(frame.height, frame.width, 3).tolist()
        else:
            picture = base64.b64encode(frame.data).decode()
        return json.dumps({"frame": picture, "frame_index": frame.index}).encode()
