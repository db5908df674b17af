"""Errors as problem+json (RFC 9457), the one table from gRPC's reasons to HTTP's statuses."""

# The library's own annotations are partial.
# pyright: reportUnknownMemberType=false

import math
from http import HTTPStatus
from typing import Any

from google.rpc import error_details_pb2, status_pb2  # pyright: ignore[reportMissingTypeStubs]

MEDIA_TYPE = "application/problem+json"

STATUSES: dict[str, HTTPStatus] = {
    "INVALID_FIELD": HTTPStatus.BAD_REQUEST,
    "UNAUTHENTICATED": HTTPStatus.UNAUTHORIZED,
    "PERMISSION_DENIED": HTTPStatus.FORBIDDEN,
    "AVATAR_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "NOT_BUILT": HTTPStatus.NOT_IMPLEMENTED,
    "MISSING_EXTRA": HTTPStatus.NOT_IMPLEMENTED,
    "NO_FREE_STREAM": HTTPStatus.TOO_MANY_REQUESTS,
    "LIMIT_EXCEEDED": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "SLOW_READER": HTTPStatus.REQUEST_TIMEOUT,
    "IDLE_CLIENT": HTTPStatus.REQUEST_TIMEOUT,
    "DEADLINE_EXCEEDED": HTTPStatus.GATEWAY_TIMEOUT,
    "ENGINE_UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
    "SHUTTING_DOWN": HTTPStatus.SERVICE_UNAVAILABLE,
    "EXECUTION_TIMEOUT": HTTPStatus.GATEWAY_TIMEOUT,
    "OUT_OF_MEMORY": HTTPStatus.INSUFFICIENT_STORAGE,
    "EXECUTION_FAILED": HTTPStatus.INTERNAL_SERVER_ERROR,
    "INTERNAL": HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""By the reasons of `server.api.status`."""

CLOSE_CODES: dict[HTTPStatus, int] = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: 1009,
    HTTPStatus.INTERNAL_SERVER_ERROR: 1011,
    HTTPStatus.TOO_MANY_REQUESTS: 1013,
    HTTPStatus.SERVICE_UNAVAILABLE: 1013,
}
"""What a WebSocket is closed with; 1008, a breach of the rules, is all else."""
CLOSE_BREACH, CLOSE_GOING_DOWN = 1008, 1012


def problem(status: status_pb2.Status, request_id: str) -> dict[str, Any]:
    """Returns the body that says what gRPC's status of an error says."""
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        # Each fills itself only from a detail of its own kind.
        detail.Unpack(info)
        detail.Unpack(retry)
    http_status = STATUSES[info.reason]
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": http_status.phrase,
        "status": int(http_status),
        "detail": status.message,
        "reason": info.reason,
        "request_id": request_id,
        **info.metadata,
    }
    if delay_s := retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9:
        body["retry_after_s"] = delay_s
    return body


def headers(body: dict[str, Any]) -> dict[str, str]:
    """Returns the headers that go with a problem."""
    fields = {"content-type": MEDIA_TYPE}
    if body["reason"] == "UNAUTHENTICATED":
        fields["www-authenticate"] = "Bearer"
    if "retry_after_s" in body:
        fields["retry-after"] = str(math.ceil(body["retry_after_s"]))
    return fields


def close_code(body: dict[str, Any]) -> int:
    """Returns the code that a WebSocket is closed with after a problem."""
    if body["reason"] == "SHUTTING_DOWN":
        return CLOSE_GOING_DOWN
    return CLOSE_CODES.get(HTTPStatus(body["status"]), CLOSE_BREACH)
