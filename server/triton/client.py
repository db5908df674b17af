"""The engine on one Triton: one execution is one call, checked against the contract on both sides.

Tensors become bytes, and bytes tensors, in threads: the event loop only carries them.
"""

# The libraries' own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false, reportUnknownArgumentType=false

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import structlog
from tritonclient.grpc import service_pb2
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from server.errors import EngineUnavailableError
from server.triton import wire
from server.triton.contract import Arrays, ContractViolationError, Network, check
from server.triton.engine import Engine, Placed, Priority, Results
from server.triton.failures import failure
from server.triton.precedence import Precedence

pb: Any = service_pb2
log = structlog.get_logger()

INFER = "/inference.GRPCInferenceService/ModelInfer"
CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_reconnect_backoff_ms", 2000),
]
NO_PROXY = ("grpc.enable_http_proxy", 0)
"""The environment's proxy is for what lies beyond this host."""
LOOPBACK = re.compile(r"(localhost|127(\.\d+){3}|\[::1\]):\d+")


class TritonEngine(Engine):
    """Runs networks on one Triton."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """Connects when first used.

        Args:
            url: ``host:port`` of Triton's gRPC; the host is a name, an address or ``[IPv6]``.
            timeout_s: how long an execution may take for which nothing else is said.
        """
        options = [*CHANNEL_OPTIONS, *([NO_PROXY] if LOOPBACK.fullmatch(url) else [])]
        self._channel = grpc.aio.insecure_channel(url, options)
        self._stub: Any = GRPCInferenceServiceStub(self._channel)
        # Without serialisers it takes bytes and gives bytes.
        self._infer: Any = self._channel.unary_unary(INFER)
        self._timeout_s = timeout_s
        self._precedence = Precedence()

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> Results:
        """Runs a network once; see `server.triton.engine.Engine`."""
        async with self.place(network, {}) as placed:
            return await placed.run(inputs, outputs, priority=priority, timeout_s=timeout_s)

    @asynccontextmanager
    async def place(self, network: Network, constants: Arrays) -> AsyncGenerator[Placed]:
        """Puts constants into bytes once; gRPC carries them at each execution all the same."""
        pieces = await asyncio.to_thread(wire.tensors, network, constants)
        yield _Placed(self, network, constants, pieces)

    async def infer(
        self, network: Network, request: bytes, priority: Priority, timeout_s: float | None
    ) -> bytes:
        """Sends a request of a network when it is its turn, and returns the response.

        Raises:
            EngineUnavailableError, ExecutionError: as `Engine.run` says.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with self._precedence.turn(newcomer=priority is Priority.FIRST_FRAME):
                return await self._infer(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details() or ""
            log.warning("triton refused", network=network.name, code=code.name, problem=details)
            raise failure(network.name, code, details, timeout_s) from error

    async def live(self, timeout_s: float) -> None:
        """Asks Triton for a sign of life, which a busy one gives as well.

        Raises:
            EngineUnavailableError: there is none.
        """
        try:
            await self._stub.ServerLive(pb.ServerLiveRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise EngineUnavailableError("triton", "it gives no sign of life") from error

    async def parameters(self, network: str, timeout_s: float) -> Mapping[str, str]:
        """Returns the parameters in the configuration of a network that Triton serves.

        Raises:
            EngineUnavailableError, ExecutionError: it does not tell.
        """
        try:
            request = pb.ModelConfigRequest(name=network)
            answer = await self._stub.ModelConfig(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise failure(network, error.code(), error.details() or "", timeout_s) from error
        return {key: value.string_value for key, value in answer.config.parameters.items()}

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()


class _Placed(Placed):
    def __init__(
        self, engine: TritonEngine, network: Network, constants: Arrays, pieces: list[bytes]
    ) -> None:
        self._engine = engine
        self._network = network
        self._constants = constants
        self._pieces = pieces

    async def run(
        self,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> Results:
        network = self._network
        check(network.inputs, {**self._constants, **inputs}, where=network.name)
        wanted = [t for t in network.outputs if outputs is None or t.name in outputs]
        header = wire.header(network, wanted)
        request = await asyncio.to_thread(self._request, header, inputs)
        response = await self._engine.infer(network, request, priority, timeout_s)
        try:
            arrays = await asyncio.to_thread(wire.arrays, network, response)
        except wire.WireError as error:
            raise EngineUnavailableError(network.name, "its answer cannot be read") from error
        for tensor in wanted:
            if tensor.name not in arrays:
                raise ContractViolationError(f"{network.name}: {tensor.name} did not come back")
        check(wanted, arrays, where=network.name)
        return {tensor.name: arrays[tensor.name] for tensor in wanted}

    def _request(self, header: list[bytes], inputs: Arrays) -> bytes:
        return wire.request(header, self._pieces, wire.tensors(self._network, inputs))
