"""What every call has around it: an id, a way to answer, a status, a line in the log."""

# These libraries' own annotations are missing or partial.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import asyncio
import re
import time
import traceback
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import code_pb2
from grpc_status import rpc_status

from server.api.status import reason_of, to_status
from server.errors import EngineUnavailableError, SlowReaderError
from server.sessions.jobs import Job
from server.sessions.report import Report

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]

REQUEST_ID = "x-request-id"
_WELL_FORMED_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


class Call:
    """One call: its id, its answers and what is said of it in the log."""

    def __init__(self, context: Context, read_timeout_s: float) -> None:
        self.request_id = _request_id(context)
        self._session_id = ""
        self._report: Report | None = None
        self._context = context
        self._read_timeout_s = read_timeout_s

    def describe(self, job: Job, report: Report) -> None:
        """Says what the call is, for the log."""
        self._session_id = job.client_session_id
        self._report = report

    async def send(self, message: Message) -> None:
        """Sends an answer; waits until the client's side takes it.

        Raises:
            SlowReaderError: the client has left it unread for too long.
        """
        try:
            async with asyncio.timeout(self._read_timeout_s):
                await self._context.write(message)
        except TimeoutError as error:
            raise SlowReaderError(self._read_timeout_s) from error

    def facts(self) -> dict[str, object]:
        """Returns what the log says of the call."""
        facts: dict[str, object] = {"request_id": self.request_id}
        if self._session_id:
            facts["session_id"] = self._session_id
        if self._report is not None:
            facts |= {
                "audio_s": round(self._report.audio_s, 3),
                "frames": self._report.frames,
                "windows": self._report.windows,
                "first_frame_ms": round(1000 * self._report.first_frame_s),
                "realtime_factor": round(self._report.realtime_factor, 3),
            }
        return facts


@asynccontextmanager
async def serving(
    context: Context,
    method: str,
    *,
    read_timeout_s: float,
    on_engine_failure: Callable[[], None],
) -> AsyncGenerator[Call]:
    """Runs a call: whatever it raises becomes its status, and it leaves one line in the log.

    Args:
        context: the call's.
        method: what the log calls it.
        read_timeout_s: how long the client may leave an answer unread.
        on_engine_failure: told when the call could not use the engine.
    """
    call = Call(context, read_timeout_s)
    # grpcio's annotations lack it.
    abort: Callable[[grpc.Status], Awaitable[None]] = getattr(context, "abort_with_status")  # noqa: B009
    began_s = time.monotonic()

    def log_outcome(status: str) -> None:
        duration_s = round(time.monotonic() - began_s, 3)
        log.info(method, status=status, duration_s=duration_s, **call.facts())

    try:
        yield call
        log_outcome("OK")
    except asyncio.CancelledError:
        log_outcome("CANCELLED")
        raise
    except Exception as error:
        cause = _first_cause(error)
        if isinstance(cause, EngineUnavailableError):
            on_engine_failure()
        status = to_status(cause)
        log_outcome(f"{code_pb2.Code.Name(status.code)}/{reason_of(cause)}")
        # The status waits behind what the client has not read; the call's work shall not.
        traceback.clear_frames(cause.__traceback__)
        await abort(rpc_status.to_status(status))


def _first_cause(error: BaseException) -> BaseException:
    """Returns the error that made a group of tasks fail; the others were only cancelled by it."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    inner: tuple[BaseException, ...] = error.exceptions  # pyright: ignore[reportUnknownVariableType]
    return _first_cause(inner[0])


def _request_id(context: Context) -> str:
    """Returns the id that the client gave its call, if it is well-formed, or a new one."""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and _WELL_FORMED_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex
