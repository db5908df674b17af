"""gRPC's errors to CallError: where a call's status is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from echomimic_client.address import no_answer
from echomimic_client.errors import CallError

Detail = TypeVar("Detail", bound=Message)

STATUS_KEY = "grpc-status-details-bin"
"""Where gRPC carries a google.rpc.Status."""


@contextmanager
def call_errors(target: str) -> Iterator[None]:
    """Raises CallError where gRPC raises its own error, blocking or not.

    Args:
        target: the server's address, which the text names where nobody answered.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise _read(cast("grpc.Call", error), target) from error


def _read(call: grpc.Call, target: str) -> CallError:
    status = _status(call)
    info = _detail(status, error_details_pb2.ErrorInfo)
    request = _detail(status, error_details_pb2.BadRequest)
    retry = _detail(status, error_details_pb2.RetryInfo)
    code = cast("grpc.StatusCode", call.code())
    details = call.details() or ""
    return CallError(
        code=code,
        message=details if info else no_answer(target, code, details),
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
