"""The client for scripts: plain iterators."""

from collections.abc import Iterable, Iterator
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


class Animation(Transcript):
    """An Animate stream: iterate over its frames, once. Leaving the loop ends the call."""

    def __init__(
        self, stub: pb_grpc.AvatarServiceStub, start: pb.AnimateRequest, audio: Iterable[bytes]
    ) -> None:
        super().__init__()
        self._call: Any = stub.Animate(self._requests(start, audio))

    def __iter__(self) -> Iterator[Frame]:
        """Yields the frames as they come.

        Raises:
            CallError: the call failed.
            Exception: what the audio source raised.
        """
        try:
            with self.receiving():
                for response in self._call:
                    frame = self.take(response)
                    if frame is not None:
                        yield frame
        finally:
            self._call.cancel()

    def _requests(
        self, start: pb.AnimateRequest, audio: Iterable[bytes]
    ) -> Iterator[pb.AnimateRequest]:
        yield start
        try:
            for data in audio:
                yield wire.audio_request(data)
        except Exception as error:
            self._audio_error = error
            raise
        yield wire.END


class AvatarClient:
    """A connection to a server; close it, or use it in a ``with`` statement."""

    def __init__(self, target: str, *, credentials: grpc.ChannelCredentials | None = None) -> None:
        """Connects at the first call.

        Args:
            target: host:port.
            credentials: for TLS, as `grpc.ssl_channel_credentials()`; none means plain text.
        """
        self._channel = (
            grpc.secure_channel(target, credentials, CHANNEL_OPTIONS)
            if credentials
            else grpc.insecure_channel(target, CHANNEL_OPTIONS)
        )
        self._stub = pb_grpc.AvatarServiceStub(self._channel)

    def __enter__(self) -> "AvatarClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection and every call on it."""
        self._channel.close()

    def animate(
        self,
        portrait: bytes,
        audio: Iterable[bytes],
        audio_format: AudioFormat,
        *,
        video: VideoFormat = DEFAULT_VIDEO,
        generation: GenerationSettings = DEFAULT_GENERATION,
        client_session_id: str = "",
    ) -> Animation:
        """Streams speech in and frames out.

        Args:
            portrait: a JPEG, PNG or WebP file.
            audio: PCM, in chunks of whole samples; consumed in a thread of its own.
            audio_format: how to read it.
            video: what the frames shall look like.
            generation: how they are generated.
            client_session_id: a name for the server's log.
        """
        start = wire.start_request(portrait, audio_format, video, generation, client_session_id)
        return Animation(self._stub, start, audio)

    def render(
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
            for response in self._stub.Render(request):
                transcript.take(response)
                mp4 += response.mp4_chunk.data
        return Rendering(
            bytes(mp4), transcript.started, tuple(transcript.warnings), transcript.summary
        )

    def server_info(self) -> ServerInfo:
        """Returns what the server runs and offers.

        Raises:
            CallError: the call failed.
        """
        with call_errors():
            return wire.read_server_info(self._stub.GetServerInfo(pb.GetServerInfoRequest()))
