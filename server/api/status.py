"""Errors as google.rpc.Status, the one table from meaning to gRPC code."""

import uuid
from typing import NamedTuple

import structlog
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import (  # pyright: ignore[reportMissingTypeStubs]
    code_pb2,
    error_details_pb2,
    status_pb2,
)

from server.errors import (
    AvatarError,
    AvatarNotFoundError,
    CapacityError,
    DeadlineError,
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
    PermissionDeniedError,
    ShuttingDownError,
    SlowReaderError,
    UnauthenticatedError,
)

DOMAIN = "echomimic.v1"
RETRY_S = 1.0

log = structlog.get_logger()


class Kind(NamedTuple):
    """What clients are told of a kind of error."""

    code: int
    reason: str
    meaning: str
    remedy: str
    retry: str
    """Whether the same call may succeed if it is made again."""


KINDS: dict[type[AvatarError], Kind] = {
    InvalidFieldError: Kind(
        code_pb2.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "a field holds something that cannot be used; `BadRequest` names it",
        "send what the message says",
        "no",
    ),
    UnauthenticatedError: Kind(
        code_pb2.UNAUTHENTICATED,
        "UNAUTHENTICATED",
        "the call does not prove whom it is of",
        "send `authorization: Bearer` and a key or a token that holds now",
        "with another key",
    ),
    PermissionDeniedError: Kind(
        code_pb2.PERMISSION_DENIED,
        "PERMISSION_DENIED",
        "the caller may not call this method",
        "ask the operator for the permission",
        "no",
    ),
    AvatarNotFoundError: Kind(
        code_pb2.NOT_FOUND,
        "AVATAR_NOT_FOUND",
        "the caller has no avatar of that id, or it has expired or was deleted",
        "create it again with `CreateAvatar`",
        "after that",
    ),
    NotBuiltError: Kind(
        code_pb2.UNIMPLEMENTED,
        "NOT_BUILT",
        "declared in the contract, not built yet",
        "go without it",
        "no",
    ),
    MissingExtraError: Kind(
        code_pb2.FAILED_PRECONDITION,
        "MISSING_EXTRA",
        "the server lacks an optional package, as `mp4`",
        "ask the operator to install the extra that the message names",
        "no",
    ),
    CapacityError: Kind(
        code_pb2.RESOURCE_EXHAUSTED,
        "NO_FREE_STREAM",
        "all places are taken, of the server or of this caller",
        "wait as long as `RetryInfo` says",
        "yes, later",
    ),
    LimitError: Kind(
        code_pb2.RESOURCE_EXHAUSTED,
        "LIMIT_EXCEEDED",
        "past one of the limits that `started` reports",
        "send less, or in another call",
        "no",
    ),
    SlowReaderError: Kind(
        code_pb2.RESOURCE_EXHAUSTED,
        "SLOW_READER",
        "a message was left unread for too long",
        "read while you write",
        "yes, if it reads",
    ),
    IdleClientError: Kind(
        code_pb2.DEADLINE_EXCEEDED,
        "IDLE_CLIENT",
        "nothing was sent for too long, while nothing was left to animate",
        "send `end` after the last audio, and open a stream when there is more",
        "yes",
    ),
    DeadlineError: Kind(
        code_pb2.DEADLINE_EXCEEDED,
        "DEADLINE_EXCEEDED",
        "the call's own deadline has passed: `Grpc-Timeout` by HTTP; by gRPC that is said without "
        "a reason, by gRPC itself",
        "give it longer, or ask for less",
        "with a longer one",
    ),
    EngineUnavailableError: Kind(
        code_pb2.UNAVAILABLE,
        "ENGINE_UNAVAILABLE",
        "Triton, or a network in it, cannot be used now, or it serves another checkpoint than the "
        "server's",
        "wait as long as `RetryInfo` says",
        "yes",
    ),
    ShuttingDownError: Kind(
        code_pb2.UNAVAILABLE,
        "SHUTTING_DOWN",
        "the server is going down and can wait no longer",
        "try another server",
        "yes, elsewhere",
    ),
    ExecutionTimeoutError: Kind(
        code_pb2.DEADLINE_EXCEEDED,
        "EXECUTION_TIMEOUT",
        "one execution of a network took too long",
        "ask for a smaller size, or when fewer streams run",
        "yes, later",
    ),
    OutOfMemoryError: Kind(
        code_pb2.RESOURCE_EXHAUSTED,
        "OUT_OF_MEMORY",
        "there is not enough memory for an execution of this size",
        "ask for a smaller size",
        "if less is asked for",
    ),
    ExecutionFailedError: Kind(
        code_pb2.FAILED_PRECONDITION,
        "EXECUTION_FAILED",
        "a network refused an execution, or failed in it",
        "tell the operator, whose log names the network",
        "no",
    ),
}
UNFORESEEN = Kind(
    code_pb2.INTERNAL,
    "INTERNAL",
    "what nobody foresaw",
    "quote the `correlation_id` to the operator, whose log has the rest",
    "no",
)
"""What all other errors are."""


def reason_of(error: BaseException) -> str:
    """Returns the constant that names an error to clients and in the log."""
    return (KINDS[type(error)] if isinstance(error, AvatarError) else UNFORESEEN).reason


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
    kind = KINDS[type(error)]
    info = error_details_pb2.ErrorInfo(reason=kind.reason, domain=DOMAIN, metadata=_metadata(error))
    details: list[message.Message] = [info, *_details(error)]
    return status_pb2.Status(
        code=kind.code, message=str(error), details=[_pack(d) for d in details]
    )


def _unforeseen(error: BaseException) -> status_pb2.Status:
    correlation_id = uuid.uuid4().hex
    log.error("unforeseen error", correlation_id=correlation_id, exc_info=error)
    info = error_details_pb2.ErrorInfo(
        reason=UNFORESEEN.reason, domain=DOMAIN, metadata={"correlation_id": correlation_id}
    )
    text = f"internal error; quote {correlation_id} to the operator"
    return status_pb2.Status(code=UNFORESEEN.code, message=text, details=[_pack(info)])


def _metadata(error: AvatarError) -> dict[str, str]:
    match error:
        case InvalidFieldError(field=field) | AvatarNotFoundError(field=field):
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
        case CapacityError(limit=limit, problem=problem, retry_after_s=retry_s):
            return [_quota(limit, problem), _retry(retry_s)]
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
