"""One Animate stream as its client saw it: what was sent and received, in order, with times."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grpc
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that the client has begun to send."""

    at_s: float
    message: pb.AnimateRequest


@dataclass(frozen=True, slots=True)
class Received:
    """A message that has come."""

    at_s: float
    message: pb.AnimateResponse


@dataclass(frozen=True, slots=True)
class Ended:
    """The status of the call, and its reason where the server gave one."""

    at_s: float
    code: str
    reason: str = ""


History = list[Sent | Received | Ended]


class Client:
    """Sends what it is told and reads on beside, and notes both; times are monotonic."""

    def __init__(
        self,
        stub: pb_grpc.AvatarServiceStub,
        *,
        reads: bool = True,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Opens a stream; without ``reads`` nothing is read until `read` is called."""
        self.history: History = []
        self._changed = threading.Condition()
        self._to_send: queue.SimpleQueue[pb.AnimateRequest | None] = queue.SimpleQueue()
        self._call = stub.Animate(self._messages(), metadata=metadata, wait_for_ready=False)
        self._may_read = threading.Event()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        if reads:
            self.read()

    def send(self, *messages: pb.AnimateRequest) -> None:
        """Sends messages, each as soon as there is room for it."""
        for message in messages:
            self._to_send.put(message)

    def read(self) -> None:
        """Begins to read."""
        self._may_read.set()

    def cancel(self) -> None:
        """Ends the call from the client's side."""
        self.read()
        self._call.cancel()

    def wait(self, condition: Callable[[History], object], timeout_s: float = 120.0) -> None:
        """Waits until something holds of the history.

        Raises:
            TimeoutError: it did not in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self.history), timeout_s):
                raise TimeoutError(f"it did not happen within {timeout_s:g} s")

    def wait_for_frames(self, count: int, timeout_s: float = 120.0) -> None:
        """Waits until so many frames have come, or the call has ended."""
        self.wait(lambda history: ended(history) or len(frames(history)) >= count, timeout_s)

    def finish(self, timeout_s: float = 180.0) -> History:
        """Reads on, and returns the history: without a status if the call does not end in time."""
        self.read()
        self._reading.join(timeout_s)
        self._to_send.put(None)
        if self._reading.is_alive():
            self._call.cancel()
        return list(self.history)

    def _messages(self) -> Iterator[pb.AnimateRequest]:
        while (message := self._to_send.get()) is not None:
            self._note(Sent(time.monotonic(), message))
            yield message

    def _read(self) -> None:
        self._may_read.wait()
        try:
            for message in self._call:
                self._note(Received(time.monotonic(), message))
            self._note(Ended(time.monotonic(), "OK"))
        except grpc.RpcError:
            self._note(Ended(time.monotonic(), self._call.code().name, _reason(self._call)))

    def _note(self, event: Sent | Received | Ended) -> None:
        with self._changed:
            self.history.append(event)
            self._changed.notify_all()


def _reason(call: grpc.Call) -> str:
    try:
        status = rpc_status.from_call(call)
    except ValueError:
        return ""
    for detail in status.details if status else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            return info.reason
    return ""


def frames(history: History) -> list[Received]:
    """Returns when frames came, and which."""
    return [
        event
        for event in history
        if isinstance(event, Received) and event.message.WhichOneof("message") == "frame"
    ]


def ended(history: History) -> Ended | None:
    """Returns how the call ended, if it has."""
    return next((event for event in history if isinstance(event, Ended)), None)
