"""What blocking and asynchronous calls share: reading answers one by one, and what may fail."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from echomimic.v1 import avatar_service_pb2 as pb

from echomimic_client.errors import CallError
from echomimic_client.results import Event, ServerWarning, Started, Summary
from echomimic_client.status import call_errors
from echomimic_client.wire import read_event, read_started, read_summary


class Transcript:
    """What a call has answered so far, beside its frames."""

    def __init__(self, target: str) -> None:
        self.warnings: list[ServerWarning] = []
        self._target = target
        self._started: Started | None = None
        self._summary: Summary | None = None
        self._audio_error: Exception | None = None
        """What the caller's audio source raised; gRPC would report a broken call only."""

    @property
    def started(self) -> Started:
        """The settings in force; there once anything was received."""
        if self._started is None:
            raise RuntimeError("the server has not answered yet; call wait_until_started first")
        return self._started

    @property
    def summary(self) -> Summary:
        """What the call came to; there after the last frame."""
        if self._summary is None:
            raise RuntimeError("the call is not complete; take every frame first")
        return self._summary

    def take(self, response: pb.AnimateResponse | pb.RenderResponse) -> Event | None:
        """Notes an answer; returns it if it is an event."""
        match response.WhichOneof("message"):
            case "started":
                self._started = read_started(response.started)
            case "summary":
                self._summary = read_summary(response.summary)
        event = read_event(response)
        if isinstance(event, ServerWarning):
            self.warnings.append(event)
        return event

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Around the reading of answers.

        Raises:
            CallError: the call failed.
            Exception: what the caller's audio source raised.
        """
        try:
            with call_errors(self._target):
                yield
        except (CallError, asyncio.CancelledError):
            if self._audio_error is not None:
                raise self._audio_error from None
            raise
