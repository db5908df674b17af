"""The client for services: asynchronous iterators."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc

from echomimic_client import wire
from echomimic_client.audio import AudioClip, AudioFormat
from echomimic_client.errors import call_errors
from echomimic_client.results import Frame, GenerationSettings, Rendering, ServerInfo, VideoFormat
from echomimic_client.transcript import (
    CHANNEL_OPTIONS,
    DEFAULT_GENERATION,
    DEFAULT_VIDEO,
    Transcript,
)


class AsyncAnimation(Transcript):
    """An Animate stream: iterate over its frames, once. Leaving the loop ends the call."""

    def __init__(
        self, stub: pb_grpc.AvatarServiceStub, start: pb.AnimateRequest, audio: AsyncIterable[bytes]
    ) -> None:
        super().__init__()
        self._call: Any = stub.Animate()
        self._start = start
        self._audio = audio

    async def __aiter__(self) -> AsyncIterator[Frame]:
        """Yields the frames as they come.

        Raises:
            CallError: the call failed.
            Exception: what the audio source raised.
        """
        sending = asyncio.create_task(self._send())
        # A write that fails because the server has ended the call would replace the server's status
        # by INTERNAL, in grpc.aio; so writing stops the moment there is a status.
        self._call.add_done_callback(lambda _: sending.cancel())
        try:
            with self.receiving():
                async for response in self._call:
                    frame = self.take(response)
                    if frame is not None:
                        yield frame
        finally:
            self._call.cancel()
            sending.cancel()
            await asyncio.wait([sending])

    async def _send(self) -> None:
        # Why a call has ended is for the reader to learn.
        with suppress(grpc.RpcError, asyncio.InvalidStateError):
            async for request in self._requests():
                await self._call.write(request)
            await self._call.done_writing()

    async def _requests(self) -> AsyncIterator[pb.AnimateRequest]:
        yield self._start
        try:
            async for data in self._audio:
                yield wire.audio_request(data)
        except Exception as error:
            self._audio_error = error
            self._call.cancel()
            return
        yield wire.END


class AsyncAvatarClient:
    """A connection to a server; close it, or use it in an ``async with`` statement."""

    def __init__(self, target: str, *, credentials: grpc.ChannelCredentials | None = None) -> None:
        """Connects at the first call; to be made inside the event loop.

        Args:
            target: host:port.
            credentials: for TLS, as `grpc.ssl_channel_credentials()`; none means plain text.
        """
        self._channel = (
            grpc.aio.secure_channel(target, credentials, CHANNEL_OPTIONS)
            if credentials
            else grpc.aio.insecure_channel(target, CHANNEL_OPTIONS)
        )
        self._stub = pb_grpc.AvatarServiceStub(self._channel)

    async def __aenter__(self) -> "AsyncAvatarClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection and every call on it."""
        await self._channel.close()

    def animate(
        self,
        portrait: bytes,
        audio: AsyncIterable[bytes],
        audio_format: AudioFormat,
        *,
        video: VideoFormat = DEFAULT_VIDEO,
        generation: GenerationSettings = DEFAULT_GENERATION,
        client_session_id: str = "",
    ) -> AsyncAnimation:
        """Streams speech in and frames out.

        Args:
            portrait: a JPEG, PNG or WebP file.
            audio: PCM, in chunks of whole samples; consumed in a task of its own.
            audio_format: how to read it.
            video: what the frames shall look like.
            generation: how they are generated.
            client_session_id: a name for the server's log.
        """
        start = wire.start_request(portrait, audio_format, video, generation, client_session_id)
        return AsyncAnimation(self._stub, start, audio)

    async def render(
        self,
        portrait: bytes,
        clip: AudioClip,
        *,
        video: VideoFormat = DEFAULT_VIDEO,
        generation: GenerationSettings = DEFAULT_GENERATION,
        client_session_id: str = "",
    ) -> Rendering:
        """Returns an MP4 with sound, made on the server; the arguments are those of `animate`.

        Raises:
            CallError: the call failed.
        """
        request = wire.render_request(portrait, clip, video, generation, client_session_id)
        transcript, mp4 = Transcript(), bytearray()
        with transcript.receiving():
            async for response in self._stub.Render(request):
                transcript.take(response)
                mp4 += response.mp4_chunk.data
        return Rendering(
            bytes(mp4), transcript.started, tuple(transcript.warnings), transcript.summary
        )

    async def server_info(self) -> ServerInfo:
        """Returns what the server runs and offers.

        Raises:
            CallError: the call failed.
        """
        with call_errors():
            return wire.read_server_info(await self._stub.GetServerInfo(pb.GetServerInfoRequest()))
