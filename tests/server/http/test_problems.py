"""Problems say what gRPC's statuses say."""

import pytest

from server.api.status import KINDS, UNFORESEEN, to_status
from server.errors import CapacityError, InvalidFieldError, LimitError, ShuttingDownError
from server.http.problems import STATUSES, close_code, headers, problem


def test_every_reason_has_a_status() -> None:
    assert set(STATUSES) == {kind.reason for kind in (*KINDS.values(), UNFORESEEN)}


def test_a_problem_has_the_reason_the_field_and_the_id() -> None:
    assert problem(to_status(InvalidFieldError("audio", "is empty")), "7") == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "audio: is empty",
        "reason": "INVALID_FIELD",
        "request_id": "7",
        "field": "audio",
    }


def test_waiting_is_told_in_whole_seconds() -> None:
    body = problem(to_status(CapacityError("max_streams", "all 4 places are taken", 1.2)), "7")
    assert headers(body)["retry-after"] == "2"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidFieldError("audio", "is empty"), 1008),
        (LimitError("max_stream_audio", "too long"), 1009),
        (CapacityError("max_streams", "all 4 places are taken", 2), 1013),
        (ShuttingDownError(), 1012),
        (RuntimeError(), 1011),
    ],
)
def test_a_socket_is_closed_with_a_code(error: Exception, code: int) -> None:
    assert close_code(problem(to_status(error), "7")) == code
