"""What an Animate stream sends: speech cut into messages, pauses, interruptions, the end."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator

from echomimic.v1 import avatar_service_pb2 as pb

from echomimic_client import requests
from echomimic_client.audio import AudioFormat
from echomimic_client.errors import CallEndedError
from echomimic_client.sources import Chunk, SampleCutter

MAX_WAITING = 64
"""Messages that wait to be sent before `send` waits."""
OUTLIVING = ("start", "update", "played", "resume", "listening", "ping")


class Composer:
    """Turns what a caller says into messages, in order."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self._cutter = SampleCutter(audio_format)

    def audio(self, chunk: Chunk) -> list[pb.AnimateRequest]:
        """Returns speech; errors are those of `SampleCutter.cut`."""
        return [requests.audio_request(data) for data in self._cutter.cut(chunk)]

    def mark(self, message: pb.AnimateRequest) -> pb.AnimateRequest:
        """Returns a message at which an utterance ends."""
        self._cutter.forget_rest()
        return message


def outliving(messages: Iterable[pb.AnimateRequest]) -> Iterator[pb.AnimateRequest]:
    """Yields what an interruption does not drop of messages that wait."""
    return (message for message in messages if message.WhichOneof("message") in OUTLIVING)


class RequestQueue:
    """Messages on their way from callers' threads to gRPC's, which iterates over them."""

    def __init__(self, first: pb.AnimateRequest) -> None:
        self._waiting = deque([first])
        self._changed = threading.Condition()
        self._closed = False

    def put(self, messages: Iterable[pb.AnimateRequest]) -> None:
        """Adds messages; waits while many wait.

        Raises:
            CallEndedError: the queue is closed.
        """
        with self._changed:
            for message in messages:
                self._changed.wait_for(lambda: self._closed or len(self._waiting) < MAX_WAITING)
                if self._closed:
                    raise CallEndedError("the call has ended")
                self._waiting.append(message)
                self._changed.notify_all()

    def overtake(self, message: pb.AnimateRequest) -> None:
        """Drops the speech that waits, and adds a message; errors are those of `put`."""
        with self._changed:
            self._waiting = deque(outliving(self._waiting))
            self.put([message])

    def close(self) -> None:
        """Ends the iteration, and refuses what comes after."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[pb.AnimateRequest]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                message = self._waiting.popleft()
                self._changed.notify_all()
            yield message
            if message.WhichOneof("message") == "end":
                self.close()
