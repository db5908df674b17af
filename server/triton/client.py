"""The engine on Triton: one execution is one call, checked against the contract on both sides."""

# The library's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false, reportUnknownArgumentType=false

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from server.errors import EngineUnavailableError
from server.triton.contract import (
    Arrays,
    ContractViolationError,
    Network,
    Tensor,
    check,
)
from server.triton.precedence import Precedence

log = structlog.get_logger()

# Several Tritons share the executions; one that is gone is left out until it is back, and since an
# execution holds no state, what it had in hand is tried on another.
SERVICE_CONFIG: dict[str, Any] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": "inference.GRPCInferenceService"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
CHANNEL_ARGUMENTS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # A retry needs the request once more; larger ones than this are not tried again.
    ("grpc.per_rpc_retry_buffer_size", 64 * 2**20),
    ("grpc.max_reconnect_backoff_ms", 2000),
]


class TritonEngine:
    """Runs networks on one Triton or several."""

    def __init__(self, urls: Sequence[str], *, timeout_s: float) -> None:
        """Connects when first used.

        Args:
            urls: ``host:port`` of each Triton's gRPC; several must be addresses, not names.
            timeout_s: how long one execution may take.
        """
        target = urls[0] if len(urls) == 1 else "ipv4:" + ",".join(urls)
        self._client = InferenceServerClient(target, channel_args=CHANNEL_ARGUMENTS)
        self._timeout_s = timeout_s
        self._precedence = Precedence()

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        urgent: bool = False,
    ) -> dict[str, NDArray[Any]]:
        """Runs a network once; see `server.triton.engine.Engine`."""
        check(network.inputs, inputs, where=network.name)
        wanted = [t for t in network.outputs if outputs is None or t.name in outputs]
        try:
            # A window of video is large, and copying it would hold up every other stream.
            carriers = await asyncio.to_thread(_carriers, network, inputs)
            async with self._precedence.turn(newcomer=urgent):
                result = await self._client.infer(
                    network.name,
                    carriers,
                    outputs=[InferRequestedOutput(tensor.name) for tensor in wanted],
                    client_timeout=self._timeout_s,
                )
        except InferenceServerException as error:
            log.warning("triton refused", network=network.name, problem=str(error))
            raise _by_meaning(network, error) from error
        arrays: dict[str, NDArray[Any]] = {}
        for tensor in wanted:
            array = None if result is None else result.as_numpy(tensor.name)
            if array is None:
                raise ContractViolationError(f"{network.name}: {tensor.name} did not come back")
            arrays[tensor.name] = array
        check(wanted, arrays, where=network.name)
        return arrays

    async def live(self, timeout_s: float) -> None:
        """Asks Triton for a sign of life, which a busy one gives as well.

        Raises:
            EngineUnavailableError: there is none.
        """
        try:
            await self._client.is_server_live(client_timeout=timeout_s)
        except InferenceServerException as error:
            raise EngineUnavailableError("triton", "it gives no sign of life") from error

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


def _carriers(network: Network, inputs: Arrays) -> list[InferInput]:
    return [_carrier(tensor, inputs[tensor.name]) for tensor in network.inputs]


def _carrier(tensor: Tensor, array: NDArray[np.generic]) -> InferInput:
    carrier = InferInput(tensor.name, list(array.shape), tensor.dtype)
    carrier.set_data_from_numpy(np.ascontiguousarray(array))
    return carrier


def _by_meaning(network: Network, error: InferenceServerException) -> Exception:
    status = str(error.status())
    if status == "StatusCode.INVALID_ARGUMENT":
        return ContractViolationError(f"{network.name}: {error.message()}")
    problem = {
        "StatusCode.UNAVAILABLE": "no Triton can be reached",
        "StatusCode.DEADLINE_EXCEEDED": "it did not answer in time",
        "StatusCode.NOT_FOUND": "this Triton does not have it",
    }.get(status, "the execution failed")
    return EngineUnavailableError(network.name, problem)
