"""Each error has one status, and clients can tell what to do by it."""

import pytest
from google.rpc import code_pb2, error_details_pb2

from server.api.status import reason_of, to_status
from server.errors import (
    AvatarError,
    EngineUnavailableError,
    ExecutionFailedError,
    ExecutionTimeoutError,
    OutOfMemoryError,
)


@pytest.mark.parametrize(
    ("error", "code", "retries"),
    [
        (EngineUnavailableError("denoiser", "it died"), code_pb2.UNAVAILABLE, True),
        (ExecutionTimeoutError("denoiser", 120.0), code_pb2.DEADLINE_EXCEEDED, False),
        (OutOfMemoryError("denoiser"), code_pb2.RESOURCE_EXHAUSTED, False),
        (ExecutionFailedError("denoiser", "it failed"), code_pb2.FAILED_PRECONDITION, False),
    ],
)
def test_the_engines_fault_is_worth_a_retry_and_an_executions_own_is_not(
    error: AvatarError, code: int, retries: bool
) -> None:
    status = to_status(error)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert status.code == code
    assert info.reason == reason_of(error) != "INTERNAL"
    assert info.metadata["network"] == "denoiser"
    kinds = [detail.TypeName() for detail in status.details]
    assert ("google.rpc.RetryInfo" in kinds) is retries
