"""The client for services: asynchronous iterators."""

from typing import Any

import grpc
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc
from typing_extensions import Self, Unpack

from echomimic_client import requests, wire
from echomimic_client.address import channel_options, check_target
from echomimic_client.aio_streams import AsyncAnimation, AsyncAnswers
from echomimic_client.audio import AudioFormat
from echomimic_client.choices import ExactClip, FaceBox, Framing, IdleMode, Pace
from echomimic_client.enums import FILMS
from echomimic_client.film_kinds import FilmKind
from echomimic_client.options import CallOptions, authorization, check, grpc_options
from echomimic_client.portraits import PortraitReport, read_report
from echomimic_client.results import Avatar, Rendering, ServerInfo
from echomimic_client.sources import (
    AsyncSpeech,
    Picture,
    Portrait,
    Speech,
    chunks_of,
    portrait_file,
    portrait_of,
    whole_speech,
)
from echomimic_client.status import call_errors
from echomimic_client.streams import OnBytes, OnProgress


class AsyncAvatarClient:
    """A connection to a server; close it, or use it in an ``async with`` statement."""

    def __init__(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        api_key: str | None = None,
    ) -> None:
        """Connects at the first call; to be made inside the event loop.

        Args:
            target: host:port.
            credentials: for TLS, as `grpc.ssl_channel_credentials()`; none means plain text.
            api_key: a key or a token (JWT), where the server asks for one.

        Raises:
            AddressError: the target cannot be meant.
        """
        check_target(target)
        options = channel_options(target)
        self._target = target
        self._api_key = api_key
        self._channel = (
            grpc.aio.secure_channel(target, credentials, options)
            if credentials
            else grpc.aio.insecure_channel(target, options)
        )
        self._stub = pb_grpc.AvatarServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection and every call on it."""
        await self._channel.close()

    def animate(
        self,
        portrait: Portrait,
        audio: AsyncSpeech | None = None,
        audio_format: AudioFormat | None = None,
        *,
        continue_from_last_frame: bool = False,
        idle: IdleMode | None = None,
        pace: Pace | None = None,
        buffer_s: float | None = None,
        audio_position_interval_s: float | None = None,
        heartbeat_interval_s: float | None = None,
        min_steps: int | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncAnimation:
        """Streams speech in and frames out.

        Args:
            portrait: a picture file's path or bytes, a picture [height, width, 3], or an avatar.
            audio: a sound file's path, a clip, or PCM in chunks of any length, from an
                asynchronous source or a plain one, which threads consume; None leaves it to `send`
                and `end`. Files are read at once: where the event loop may not wait for that, read
                them beforehand.
            audio_format: how to read PCM; files and clips know it.
            continue_from_last_frame: begin later utterances with the frame shown last.
            idle: what is sent while nobody speaks; None is nothing.
            pace: whether frames leave when they are due, or as they are made; None is the latter.
            buffer_s: how much of an utterance is made before it is played; None is the server's
                default. Where either is stated, `BufferState` tells how full it is.
            audio_position_interval_s: how often `AudioPosition` tells how far the audio has got, at
                most; None is never.
            heartbeat_interval_s: after how long without another message a `Heartbeat` comes; None
                is never.
            min_steps: how few denoising steps the server may take while it is slower than real
                time; None leaves them as they are.
            options: see `CallOptions`.

        Raises:
            AudioFileError: a file cannot be read as speech.
            OSError: the portrait cannot be read.
            ValueError: the format of the audio is missing or wrong.
        """
        check(options)
        audio_format, chunks = chunks_of(() if audio is None else audio, audio_format)
        start = requests.start_request(
            portrait_of(portrait),
            audio_format,
            options,
            continues=continue_from_last_frame,
            idle=idle,
            pace=pace,
            buffer_s=buffer_s,
            audio_position_interval_s=audio_position_interval_s,
            heartbeat_interval_s=heartbeat_interval_s,
            min_steps=min_steps,
        )
        call = AsyncAnimation(
            self._stub, self._target, start, audio_format, self._grpc_options(options)
        )
        if audio is not None:
            call.say(chunks)
        return call

    async def render(
        self,
        portrait: Portrait,
        speech: Speech,
        audio_format: AudioFormat | None = None,
        *,
        kind: FilmKind = "mp4",
        exact: ExactClip | None = None,
        on_progress: OnProgress | None = None,
        on_bytes: OnBytes | None = None,
        **options: Unpack[CallOptions],
    ) -> Rendering:
        """Returns a film with sound, made on the server.

        Args:
            portrait: a picture file's path or bytes, a picture [height, width, 3], or an avatar.
            speech: a sound file's path, a clip or PCM, all of it.
            audio_format: how to read PCM; files and clips know it.
            kind: of the film. A GIF has no sound; a fragmented MP4 can be played while it comes.
            exact: make the clip as the authors' program does.
            on_progress: is told how far it is.
            on_bytes: is given the film piece by piece, as it comes.
            options: see `CallOptions`.

        Raises:
            CallError: the call failed.
            AudioFileError, OSError, ValueError: as `animate`.
        """
        output = FILMS[kind]
        call = self._render(portrait, speech, audio_format, options, exact, output)
        return await call.film(on_progress, on_bytes)

    def render_frames(
        self,
        portrait: Portrait,
        speech: Speech,
        audio_format: AudioFormat | None = None,
        *,
        exact: ExactClip | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncAnswers:
        """Returns the frames of complete speech as they are made; arguments as of `render`."""
        output = pb.RENDER_OUTPUT_FRAMES
        return self._render(portrait, speech, audio_format, options, exact, output)

    async def check_portrait(
        self,
        portrait: Picture,
        *,
        size: tuple[int, int] = (0, 0),
        framing: Framing = "fill",
        strict: bool = False,
        deadline_s: float | None = None,
    ) -> PortraitReport:
        """Returns what could be better about a portrait.

        Args:
            portrait: a picture file's path or bytes, or a picture [height, width, 3].
            size: of the frames to come, one of the server's; zeros are its default.
            framing: which part is to be shown.
            strict: whether warnings make it unusable.
            deadline_s: when the call shall fail, in seconds from now; None is never.

        Raises:
            CallError: the call failed, as for what is no picture.
            OSError: the portrait cannot be read.
        """
        request = requests.check_request(portrait_file(portrait), framing, size, strict=strict)
        return read_report(await self._ask(self._stub.CheckPortrait, request, deadline_s))

    async def create_avatar(
        self,
        portrait: Picture,
        *,
        size: tuple[int, int] = (0, 0),
        face_box: FaceBox | None = None,
        framing: Framing = "fill",
        strict: bool = False,
        deadline_s: float | None = None,
    ) -> Avatar:
        """Has a portrait prepared once, for many calls, which then begin sooner.

        Args:
            portrait: a picture file's path or bytes, or a picture [height, width, 3].
            size: of the frames to come, one of the server's; zeros are its default.
            face_box: where the face is, for preview models.
            framing: which part is to be shown.
            strict: whether warnings make it unusable.
            deadline_s: when the call shall fail, in seconds from now; None is never.

        Raises:
            CallError: the call failed, as for what is no picture.
            OSError: the portrait cannot be read.
        """
        data = portrait_file(portrait)
        request = requests.create_avatar_request(data, face_box, framing, size, strict=strict)
        answer = await self._ask(self._stub.CreateAvatar, request, deadline_s)
        return wire.read_avatar(answer.avatar, answer.warnings)

    async def get_avatar(self, avatar_id: str, *, deadline_s: float | None = None) -> Avatar:
        """Returns one of the caller's avatars.

        Raises:
            CallError: there is none of that id, or the call failed.
        """
        request = pb.GetAvatarRequest(avatar_id=avatar_id)
        answer = await self._ask(self._stub.GetAvatar, request, deadline_s)
        return wire.read_avatar(answer.avatar)

    async def list_avatars(self, *, deadline_s: float | None = None) -> tuple[Avatar, ...]:
        """Returns the caller's avatars, the oldest first.

        Raises:
            CallError: the call failed.
        """
        request = pb.ListAvatarsRequest()
        answer = await self._ask(self._stub.ListAvatars, request, deadline_s)
        return tuple(map(wire.read_avatar, answer.avatars))

    async def delete_avatar(self, avatar_id: str, *, deadline_s: float | None = None) -> None:
        """Has an avatar forgotten; calls that use it go on.

        Raises:
            CallError: there is none of that id, or the call failed.
        """
        request = pb.DeleteAvatarRequest(avatar_id=avatar_id)
        await self._ask(self._stub.DeleteAvatar, request, deadline_s)

    async def server_info(self, *, deadline_s: float | None = None) -> ServerInfo:
        """Returns what the server runs and offers.

        Raises:
            CallError: the call failed.
        """
        request = pb.GetServerInfoRequest()
        answer = await self._ask(self._stub.GetServerInfo, request, deadline_s)
        return wire.read_server_info(answer)

    async def _ask(self, method: Any, request: Any, deadline_s: float | None) -> Any:
        metadata = authorization(self._api_key)
        with call_errors(self._target):
            return await method(request, timeout=deadline_s, metadata=metadata)

    def _render(
        self,
        portrait: Portrait,
        speech: Speech,
        audio_format: AudioFormat | None,
        options: CallOptions,
        exact: ExactClip | None,
        output: pb.RenderOutput,
    ) -> AsyncAnswers:
        check(options)
        clip = whole_speech(speech, audio_format)
        request = requests.render_request(portrait_of(portrait), clip, options, exact, output)
        return AsyncAnswers(self._stub.Render(request, **self._grpc_options(options)), self._target)

    def _grpc_options(self, options: CallOptions) -> dict[str, Any]:
        return grpc_options(options, self._api_key)
