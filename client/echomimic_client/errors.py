"""What can go wrong on the client's side.

ClientError
|- AudioFileError       a file cannot be read as speech
|- MissingExtraError    this installation lacks an optional package
`- CallError            the server refused a call or broke it off, or cannot be reached
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

Detail = TypeVar("Detail", bound=Message)

STATUS_KEY = "grpc-status-details-bin"
"""Where gRPC carries a google.rpc.Status."""


class ClientError(Exception):
    """Anything this package raises on purpose."""


class AudioFileError(ClientError):
    """A file cannot be read as speech."""


class MissingExtraError(ClientError):
    """This installation lacks an optional package."""


@dataclasses.dataclass(eq=False)
class CallError(ClientError):
    """A call failed. Compare ``reason`` with constants; ``message`` is for people."""

    code: grpc.StatusCode
    message: str
    reason: str | None = None
    """ErrorInfo's reason, as NO_FREE_STREAM; None where the server did not speak itself."""
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    """ErrorInfo's metadata."""
    field: str | None = None
    """The field of the request that was refused."""
    retry_after_s: float | None = None
    """When to try again."""

    def __str__(self) -> str:
        return self.message


@contextmanager
def call_errors() -> Iterator[None]:
    """Raises CallError where gRPC raises its own error, blocking or not."""
    try:
        yield
    except grpc.RpcError as error:
        raise _read(cast("grpc.Call", error)) from error


def _read(call: grpc.Call) -> CallError:
    status = _status(call)
    info = _detail(status, error_details_pb2.ErrorInfo)
    request = _detail(status, error_details_pb2.BadRequest)
    retry = _detail(status, error_details_pb2.RetryInfo)
    return CallError(
        code=cast("grpc.StatusCode", call.code()),
        message=call.details() or "",
        reason=info.reason if info else None,
        metadata=dict(info.metadata) if info else {},
        field=request.field_violations[0].field if request else None,
        retry_after_s=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
    )


def _status(call: grpc.Call) -> status_pb2.Status:
    trailers: Any = call.trailing_metadata() or ()
    details = next((value for key, value in trailers if key == STATUS_KEY), b"")
    return status_pb2.Status.FromString(details)


def _detail(status: status_pb2.Status, kind: type[Detail]) -> Detail | None:
    detail = kind()
    return next((detail for packed in status.details if packed.Unpack(detail)), None)
