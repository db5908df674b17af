"""What a failed call to Triton means: the fault of the engine, or the execution's own failure."""

import re

import grpc

from server.errors import (
    AvatarError,
    EngineUnavailableError,
    ExecutionFailedError,
    ExecutionTimeoutError,
    OutOfMemoryError,
)

STUB_DIED = re.compile(r"stub process.* is not healthy", re.IGNORECASE)
"""The process that ran the network is gone, though Triton still calls itself ready."""
OUT_OF_MEMORY = re.compile(
    r"out of memory|outofmemory|bad_alloc|memoryallocation|memoryerror|_alloc_failed"
    r"|(failed|unable) to allocate|insufficient memory|smaller than requested bytes",
    re.IGNORECASE,
)


def failure(network: str, code: grpc.StatusCode, details: str, timeout_s: float) -> AvatarError:
    """Returns a failed execution's error.

    Args:
        network: which was to be run.
        code: gRPC's, of Triton or of the connection.
        details: what was said besides; it stays in the server.
        timeout_s: how long the execution might have taken.
    """
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return EngineUnavailableError(network, "no Triton can be reached")
        case grpc.StatusCode.NOT_FOUND | grpc.StatusCode.UNIMPLEMENTED:
            return EngineUnavailableError(network, "this Triton does not have it")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return ExecutionTimeoutError(network, timeout_s)
        case grpc.StatusCode.INVALID_ARGUMENT:
            return ExecutionFailedError(network, "it does not take inputs of these shapes")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return OutOfMemoryError(network)
        case _ if STUB_DIED.search(details):
            return EngineUnavailableError(network, "the process that ran it has died")
        case _ if OUT_OF_MEMORY.search(details):
            return OutOfMemoryError(network)
        case _:
            return ExecutionFailedError(network, "the execution failed")
