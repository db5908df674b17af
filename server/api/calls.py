"""What every call has around it: an id, messages in and out, a status, two lines in the log."""

# These libraries' own annotations are missing or partial.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import asyncio
import re
import time
import traceback
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status

from server.access.access import Access
from server.access.caller import Caller
from server.api.patience import patience
from server.api.status import facts_of, reason_of, to_status
from server.errors import (
    CapacityError,
    IdleClientError,
    InvalidFieldError,
    SlowReaderError,
    cause_of,
)
from server.recorder import Recorder
from server.sessions.events import Frame, Notice
from server.sessions.gateway import Gateway
from server.sessions.jobs import Job
from server.sessions.report import Report
from server.spans import Fact, Tracer, enter

log = structlog.get_logger()

M = TypeVar("M")
Context = grpc.aio.ServicerContext[Any, Any]

REQUEST_ID = "x-request-id"
_WELL_FORMED_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
SERVERS_FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE"}
"""What OpenTelemetry's conventions call an error of a span on the server's side."""
READ_OUT_S = 2.0
READ_OUT_FULL_S = 0.04
"""How long what a refused client still sends is read, and where there is no room for it."""
QUIET_S = 0.02
"""A client from which nothing came for so long has stopped sending."""
STATUS_S = 5.0
"""How long a status may wait behind what the client has not read, before it is left to gRPC."""


class Call:
    """One call: its id, its messages and what is said of it in the log."""

    def __init__(
        self,
        context: Any,
        method: str,
        recorder: Recorder,
        tracer: Tracer,
        read_timeout_s: float,
    ) -> None:
        self.request_id, self.notices = _request_id(context)
        self.span = tracer.call(method, self.request_id, context.invocation_metadata() or ())
        self._caller: Caller | None = None
        self.sent_at = 0.0
        """When the client was last answered, on the event loop's clock."""
        self._quiet_since = 0.0
        """Since when the client has said nothing, on that clock."""
        self.recorder = recorder
        self._method = method
        self._session_id = ""
        self._report: Report | None = None
        self._context = context
        self._opening: asyncio.Future[Any] | None = None
        """The sending of what the client is answered first."""
        self._read_timeout_s = read_timeout_s

    @property
    def peer(self) -> str:
        """The client's address, with its port."""
        return self._context.peer()

    @property
    def caller(self) -> Caller:
        """Whom limits for one caller count for."""
        assert self._caller is not None, "nothing is done for a call before it is admitted"
        return self._caller

    def admit(self, access: Access) -> None:
        """Finds out whom the call is of: by its address without port, if nothing else is asked.

        Raises:
            UnauthenticatedError: it does not prove that.
            PermissionDeniedError: they may not make it.
        """
        address = self.peer.rpartition(":")[0] or self.peer
        metadata = self._context.invocation_metadata() or ()
        self._caller = access.admit(self._method, address, metadata)

    def describe(self, job: Job, report: Report) -> None:
        """Says what the call is, for the log."""
        self._session_id = job.client_session_id
        self._report = report

    def frame_sent(self, report: Report, frame: Frame) -> None:
        """Counts a frame that has left."""
        self.recorder.frame_sent(self._method)
        if frame.is_idle:
            report.idle_frame_sent()
            return
        report.frame_sent(frame.utterance_id)
        if report.spoken_frames == 1:
            self.recorder.first_frame(self._method, report.first_frame_s)

    def ended(self, code: str, reason: str = "") -> None:
        """Says how the call ended, for the metrics."""
        self.recorder.call_ended(self._method, code, reason)
        self.span.note(status=code, reason=reason, **self.facts())
        self.span.end(reason or code if code in SERVERS_FAULTS else "")
        if self._report is not None:
            self.video_ended(self._report)

    def video_ended(self, report: Report) -> None:
        """Says what one of the call's videos came to, for the metrics."""
        if report.spoken_frames:
            self.recorder.video_ended(self._method, report.playable_s, report.realtime_factor)

    async def read(self, kind: type[M], timeout_s: float | None = None) -> M | None:
        """Returns the client's next message, or None when it has half-closed.

        Args:
            kind: of the method's requests.
            timeout_s: how long it may take.

        Raises:
            IdleClientError: none came in time.
            InvalidFieldError: its bytes are no message of this method.
        """
        try:
            async with asyncio.timeout(timeout_s):
                message = await self._context.read()
        except TimeoutError as error:
            raise IdleClientError(timeout_s or 0) from error
        if isinstance(message, Exception):
            raise message
        # gRPC's mark of the end is none.
        return message if isinstance(message, kind) else None

    async def read_one(self, kind: type[M], timeout_s: float) -> M:
        """Returns the one request of a call.

        Raises:
            IdleClientError: none came in time.
            InvalidFieldError: there is none, or its bytes are no message of this method.
        """
        request = await self.read(kind, timeout_s)
        if request is None:
            raise InvalidFieldError("message", "is missing: the call ended without a request")
        return request

    async def read_unless_idle(
        self,
        kind: type[M],
        idle_timeout_s: float,
        is_working: Callable[[], bool],
        *,
        is_silent: bool = False,
    ) -> M | None:
        """Returns the client's next message; time counts while nothing is done or sent for it.

        Args:
            kind: of the method's requests.
            idle_timeout_s: how long the client may be silent.
            is_working: tells whether something is done for it.
            is_silent: whether the message before was no word, so that the silence before goes on.

        Raises:
            IdleClientError: the client has been silent for too long.
            InvalidFieldError: the message's bytes are none of this method.
        """
        reading = asyncio.ensure_future(self.read(kind))
        now = asyncio.get_running_loop().time
        if not is_silent:
            self._quiet_since = now()
        try:
            while True:
                left_s = idle_timeout_s - (now() - max(self._quiet_since, self.sent_at))
                done, _ = await asyncio.wait([reading], timeout=left_s)
                if done:
                    return reading.result()
                if is_working():
                    self._quiet_since = now()
                elif now() - max(self._quiet_since, self.sent_at) >= idle_timeout_s:
                    raise IdleClientError(idle_timeout_s)
        finally:
            reading.cancel()

    async def send_headers(self) -> None:
        """Sends what goes before the first answer.

        Where that first answer may be large: gRPC has no status for a client that leaves headers
        unread behind it.
        """
        await self._opened(self._context.send_initial_metadata(()))

    async def send(self, message: object, *, unasked: bool = False) -> None:
        """Sends an answer; waits until the client's side takes it.

        Args:
            message: the answer.
            unasked: whether it is none to what the client has said, whose silence then goes on.

        Raises:
            SlowReaderError: the client has left it unread for too long.
        """
        now = asyncio.get_running_loop().time
        began_s = now()
        try:
            async with patience(self._read_timeout_s):
                writing = self._context.write(message)
                try:
                    await (self._opened(writing) if self._opening is None else writing)
                except grpc.aio.InternalError:
                    # The client is gone, and gRPC is about to cancel the call for it.
                    await asyncio.Event().wait()
        except TimeoutError as error:
            raise SlowReaderError(self._read_timeout_s) from error
        ended_s = now()
        if not unasked:
            self.sent_at = ended_s
        self.recorder.message_sent(ended_s - began_s)

    async def _opened(self, sending: Awaitable[Any]) -> None:
        """Sends what is first, which is never given up halfway.

        With it go the headers. gRPC would send them again with the status if it did not know that
        they are under way, which fails, and the client would wait for ever.
        """
        self._opening = asyncio.ensure_future(sending)
        # A client that is gone is noticed elsewhere.
        self._opening.add_done_callback(lambda sent: sent.cancelled() or sent.exception())
        await asyncio.shield(self._opening)

    async def read_out(self, limit_s: float) -> None:
        """Reads what the client has on its way, so that it is not writing when the status comes.

        grpc.aio clients that are report INTERNAL in place of the status.
        """
        # A read that was given up may still be under way in gRPC, which then allows no other.
        with suppress(TimeoutError, grpc.aio.BaseError):
            async with asyncio.timeout(limit_s):
                while isinstance(await self._read_soon(), Message | Exception):
                    pass

    async def _read_soon(self) -> Any:
        async with asyncio.timeout(QUIET_S):
            return await self._context.read()

    async def fail(self, status: status_pb2.Status) -> None:
        """Ends the call with the status of an error."""
        # grpcio's annotations lack it.
        abort: Callable[[grpc.Status], Awaitable[None]]
        abort = getattr(self._context, "abort_with_status")  # noqa: B009
        # A client that reads nothing would hold the call up for ever. The status goes out anyway,
        # once there is room for it.
        with suppress(TimeoutError):
            async with asyncio.timeout(STATUS_S):
                if self._opening is not None:
                    await asyncio.wait([self._opening], timeout=STATUS_S / 2)
                await abort(rpc_status.to_status(status))

    def cancelled_by(self) -> str:
        """Returns why a call was cancelled: its deadline has passed, or the client is gone."""
        # None without a deadline, whatever grpcio's annotations say.
        left_s: Any = self._context.time_remaining()
        return "DEADLINE_EXCEEDED" if left_s is not None and left_s <= 0 else "CANCELLED"

    def facts(self) -> dict[str, Fact]:
        """Returns what the log and the span say of the call."""
        facts: dict[str, Fact] = {"request_id": self.request_id, "peer": self.peer}
        if self.span.trace_id:
            facts["trace_id"] = self.span.trace_id
        if self._caller is not None and self._caller.is_named:
            facts["caller"] = self._caller.name
        if self._session_id:
            facts["session_id"] = self._session_id
        if self._report is not None:
            facts |= facts_of_video(self._report)
        return facts


def facts_of_video(report: Report) -> dict[str, Fact]:
    """Returns what the log says of a video."""
    rarer = {"underruns": report.underruns, "idle_frames": report.idle_frames}
    facts: dict[str, Fact] = {name: count for name, count in rarer.items() if count}
    return facts | {
        "audio_s": round(report.audio_s, 3),
        "frames": report.frames,
        "windows": report.windows,
        "first_frame_ms": round(1000 * report.first_frame_s),
        "playable_ms": round(1000 * report.playable_s),
        "realtime_factor": round(report.realtime_factor, 3),
    }


@asynccontextmanager
async def serving(
    context: Any, method: str, gateway: Gateway, kind: type[Call] = Call
) -> AsyncGenerator[Call]:
    """Runs a call: whatever it raises becomes its status, and its begin and end are logged.

    Args:
        context: the call's.
        method: what the log calls it.
        gateway: what is called; says who may call it.
        kind: of the front end that the call came by.
    """
    recorder = gateway.recorder
    read_timeout_s = gateway.offer.settings.read_timeout_s
    call = kind(context, method, recorder, gateway.tracer, read_timeout_s)
    # For good: the task is the call's own.
    enter(call.span)
    began_s = time.monotonic()
    recorder.call_began(method)
    log.info(f"{method} begins", **call.facts())

    def outcome(status: str) -> dict[str, object]:
        duration_s = round(time.monotonic() - began_s, 3)
        return {"status": status, "duration_s": duration_s, **call.facts()}

    try:
        call.admit(gateway.access)
        yield call
        log.info(method, **outcome("OK"))
        call.ended("OK")
    except asyncio.CancelledError:
        code = call.cancelled_by()
        log.info(method, **outcome(code))
        call.ended(code)
        raise
    except Exception as error:
        cause = cause_of(error)
        status = to_status(cause)
        code, reason = code_pb2.Code.Name(status.code), reason_of(cause)
        log.warning(method, **outcome(f"{code}/{reason}"), **facts_of(cause))
        call.ended(code, reason)
        # The status waits behind what the client has not read; the call's work shall not.
        traceback.clear_frames(cause.__traceback__)
        # Whoever is turned away for want of room is to know at once.
        await call.read_out(READ_OUT_FULL_S if isinstance(cause, CapacityError) else READ_OUT_S)
        await call.fail(status)


def _request_id(context: Any) -> tuple[str, tuple[Notice, ...]]:
    """Returns the id that the client gave its call, if it is well-formed, or a new one."""
    notices: tuple[Notice, ...] = ()
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and _WELL_FORMED_ID.fullmatch(value):
            return value, ()
        if key == REQUEST_ID:
            message = (
                f"the {REQUEST_ID} sent cannot be used, so that this call has an id of the "
                "server's; send 1 to 128 letters, digits or _ . : -"
            )
            notices = (Notice("REQUEST_ID_REPLACED", message),)
    return uuid.uuid4().hex, notices
