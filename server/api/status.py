"""Errors as google.rpc.Status, the one table from meaning to gRPC code."""

import uuid

import structlog
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import (  # pyright: ignore[reportMissingTypeStubs]
    code_pb2,
    error_details_pb2,
    status_pb2,
)

from server.errors import (
    AvatarError,
    CapacityError,
    EngineUnavailableError,
    ExecutionError,
    ExecutionFailedError,
    ExecutionTimeoutError,
    IdleClientError,
    InvalidFieldError,
    LimitError,
    MissingExtraError,
    NotBuiltError,
    OutOfMemoryError,
    ShuttingDownError,
    SlowReaderError,
)

DOMAIN = "echomimic.v1"
RETRY_S = 1.0

log = structlog.get_logger()

CODES: dict[type[AvatarError], tuple[int, str]] = {
    InvalidFieldError: (code_pb2.INVALID_ARGUMENT, "INVALID_FIELD"),
    NotBuiltError: (code_pb2.UNIMPLEMENTED, "NOT_BUILT"),
    MissingExtraError: (code_pb2.FAILED_PRECONDITION, "MISSING_EXTRA"),
    CapacityError: (code_pb2.RESOURCE_EXHAUSTED, "NO_FREE_STREAM"),
    LimitError: (code_pb2.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED"),
    SlowReaderError: (code_pb2.RESOURCE_EXHAUSTED, "SLOW_READER"),
    IdleClientError: (code_pb2.DEADLINE_EXCEEDED, "IDLE_CLIENT"),
    EngineUnavailableError: (code_pb2.UNAVAILABLE, "ENGINE_UNAVAILABLE"),
    ShuttingDownError: (code_pb2.UNAVAILABLE, "SHUTTING_DOWN"),
    ExecutionTimeoutError: (code_pb2.DEADLINE_EXCEEDED, "EXECUTION_TIMEOUT"),
    OutOfMemoryError: (code_pb2.RESOURCE_EXHAUSTED, "OUT_OF_MEMORY"),
    ExecutionFailedError: (code_pb2.FAILED_PRECONDITION, "EXECUTION_FAILED"),
}


def reason_of(error: BaseException) -> str:
    """Returns the constant that names an error to clients and in the log."""
    return CODES[type(error)][1] if isinstance(error, AvatarError) else "INTERNAL"


def facts_of(error: BaseException) -> dict[str, str]:
    """Returns what the log says of an error that a client is told about."""
    return {"message": str(error), **_metadata(error)} if isinstance(error, AvatarError) else {}


def to_status(error: BaseException) -> status_pb2.Status:
    """Returns the status of an error, with one ErrorInfo and the details that apply.

    An error nobody foresaw becomes INTERNAL with an id to find it in the log by; its text stays
    in the server.
    """
    if not isinstance(error, AvatarError):
        return _unforeseen(error)
    code, reason = CODES[type(error)]
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=_metadata(error))
    details: list[message.Message] = [info, *_details(error)]
    return status_pb2.Status(code=code, message=str(error), details=[_pack(d) for d in details])


def _unforeseen(error: BaseException) -> status_pb2.Status:
    correlation_id = uuid.uuid4().hex
    log.error("unforeseen error", correlation_id=correlation_id, exc_info=error)
    info = error_details_pb2.ErrorInfo(
        reason="INTERNAL", domain=DOMAIN, metadata={"correlation_id": correlation_id}
    )
    text = f"internal error; quote {correlation_id} to the operator"
    return status_pb2.Status(code=code_pb2.INTERNAL, message=text, details=[_pack(info)])


def _metadata(error: AvatarError) -> dict[str, str]:
    match error:
        case InvalidFieldError(field=field):
            return {"field": field}
        case NotBuiltError(feature=feature):
            return {"feature": feature}
        case MissingExtraError(extra=extra):
            return {"extra": extra}
        case LimitError(limit=limit) | CapacityError(limit=limit):
            return {"limit": limit}
        case EngineUnavailableError(network=network) | ExecutionError(network=network):
            return {"network": network}
        case _:
            return {}


def _details(error: AvatarError) -> list[message.Message]:
    match error:
        case InvalidFieldError(field=field, problem=problem):
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=field, description=problem
            )
            return [error_details_pb2.BadRequest(field_violations=[violation])]
        case CapacityError(limit=limit, places=places, retry_after_s=retry_s):
            return [_quota(limit, f"{places} at once"), _retry(retry_s)]
        case LimitError(limit=limit, problem=problem):
            return [_quota(limit, problem)]
        case EngineUnavailableError() | ShuttingDownError():
            return [_retry(RETRY_S)]
        case _:
            return []


def _quota(subject: str, description: str) -> error_details_pb2.QuotaFailure:
    violation = error_details_pb2.QuotaFailure.Violation(subject=subject, description=description)
    return error_details_pb2.QuotaFailure(violations=[violation])


def _retry(delay_s: float) -> error_details_pb2.RetryInfo:
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(round(delay_s * 1000))
    return error_details_pb2.RetryInfo(retry_delay=delay)


def _pack(detail: message.Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
