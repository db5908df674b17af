"""What blocking and asynchronous calls share: reading answers one by one, and what may fail."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from echomimic.v1 import avatar_service_pb2 as pb

from echomimic_client.errors import CallError, call_errors
from echomimic_client.results import (
    Frame,
    GenerationSettings,
    ServerWarning,
    Started,
    Summary,
    VideoFormat,
)
from echomimic_client.wire import read_frame, read_started, read_summary

CHANNEL_OPTIONS = (("grpc.max_receive_message_length", -1),)
"""Raw frames of large pictures go beyond gRPC's 4 MiB."""
DEFAULT_VIDEO = VideoFormat()
DEFAULT_GENERATION = GenerationSettings()


class Transcript:
    """What a call has answered so far, beside its frames."""

    def __init__(self) -> None:
        self.warnings: list[ServerWarning] = []
        self._started: Started | None = None
        self._summary: Summary | None = None
        self._audio_error: Exception | None = None
        """What the caller's audio source raised; gRPC would report a broken call only."""

    @property
    def started(self) -> Started:
        """The settings in force; there once the first frame is."""
        if self._started is None:
            raise RuntimeError("the server has not answered yet; take a frame first")
        return self._started

    @property
    def summary(self) -> Summary:
        """What the call came to; there after the last frame."""
        if self._summary is None:
            raise RuntimeError("the call is not complete; take every frame first")
        return self._summary

    def take(self, response: pb.AnimateResponse | pb.RenderResponse) -> Frame | None:
        """Notes an answer; returns the frame if it is one.

        Kinds that later servers may add are passed over.
        """
        match response.WhichOneof("message"):
            case "frame":
                return read_frame(response.frame)
            case "started":
                self._started = read_started(response.started)
            case "warning":
                warning = response.warning
                self.warnings.append(ServerWarning(warning.reason, warning.message))
            case "summary":
                self._summary = read_summary(response.summary)
        return None

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Around the reading of answers.

        Raises:
            CallError: the call failed.
            Exception: what the caller's audio source raised.
        """
        try:
            with call_errors():
                yield
        except (CallError, asyncio.CancelledError):
            if self._audio_error is not None:
                raise self._audio_error from None
            raise
