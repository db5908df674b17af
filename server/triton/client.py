"""The engine on one Triton: one execution is one call, checked against the contract on both sides.

Tensors become bytes, and bytes tensors, in threads: the event loop only carries them. Where Triton
shares memory with this process, large tensors are put there, and a request only names them.
"""

# The libraries' own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false, reportUnknownArgumentType=false

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from server.errors import EngineUnavailableError
from server.spans import current
from server.triton import wire
from server.triton.contract import Arrays, ContractViolationError, Network, Tensor, check
from server.triton.engine import Placed, PlacingEngine, Priority, Results
from server.triton.failures import failure
from server.triton.ports import on_loopback
from server.triton.precedence import Precedence
from server.triton.regions import Lease, NotSharedError
from server.triton.shared_memory import SharedMemory

pb: Any = service_pb2
log = structlog.get_logger()

INFER = "/inference.GRPCInferenceService/ModelInfer"
CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_reconnect_backoff_ms", 2000),
]
SHARED_MEMORY_FAULT = re.compile("shared memory (region|size)")
"""In what Triton says of a region that it does not know, or that is too small."""
NO_PROXY = ("grpc.enable_http_proxy", 0)
"""The environment's proxy is for what lies beyond this host."""


class TritonEngine(PlacingEngine):
    """Runs networks on one Triton."""

    def __init__(
        self, url: str, *, timeout_s: float, shared_memory: SharedMemory | None = None
    ) -> None:
        """Connects when first used.

        Args:
            url: ``host:port`` of Triton's gRPC; the host is a name, an address or ``[IPv6]``.
            timeout_s: how long an execution may take for which nothing else is said.
            shared_memory: what large tensors go through where Triton takes it; else all is sent.
        """
        options = [*CHANNEL_OPTIONS, *([NO_PROXY] if on_loopback(url) else [])]
        self._url = url
        self._channel = grpc.aio.insecure_channel(url, options)
        self._stub: Any = GRPCInferenceServiceStub(self._channel)
        # Without serialisers it takes bytes and gives bytes.
        self._infer: Any = self._channel.unary_unary(INFER)
        self._shared_memory = shared_memory
        self._timeout_s = timeout_s
        self._precedence = Precedence()

    @asynccontextmanager
    async def place(self, network: Network, constants: Arrays) -> AsyncGenerator[Placed]:
        """Puts constants into shared memory once, or into bytes that are sent every time."""
        parcel = await asyncio.to_thread(pack, self.shared_memory, network, constants)
        try:
            yield _Placed(self, network, constants, parcel)
        finally:
            parcel.lease.release()

    @property
    def shared_memory(self) -> SharedMemory | None:
        """What large tensors go through now."""
        shared = self._shared_memory
        return shared if shared and shared.usable else None

    async def infer(
        self,
        network: Network,
        request: bytes,
        leases: Sequence[Lease],
        priority: Priority,
        timeout_s: float | None,
    ) -> bytes:
        """Sends a request of a network when it is its turn, and returns the response.

        Raises:
            EngineUnavailableError, ExecutionError: as `Engine.run` says.
            NotSharedError: Triton does not find the memory that the request is in.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with self._precedence.turn(first=priority is Priority.FIRST_FRAME):
                if self._shared_memory and leases:
                    await self._shared_memory.register(self._stub, leases)
                span = current()
                span.note(triton=self._url)
                return await self._infer(request, timeout=timeout_s, metadata=span.headers())
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details() or ""
            if self._shared_memory and SHARED_MEMORY_FAULT.search(details):
                self._shared_memory.refused()
                raise NotSharedError from error
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
        if self._shared_memory:
            await self._shared_memory.close(self._stub)
        await self._channel.close()


@dataclass(frozen=True, slots=True)
class Parcel:
    """Inputs as a part of a request, and where those are that are not in it."""

    pieces: list[bytes]
    lease: Lease


def pack(shared: SharedMemory | None, network: Network, arrays: Arrays) -> Parcel:
    """Puts inputs into shared memory, as far as there is any, and the rest into bytes."""
    sizes = {name: array.nbytes for name, array in arrays.items()}
    lease = shared.pool.lease(sizes) if shared else Lease()
    try:
        lease.put(arrays)
    except NotSharedError as error:
        assert shared
        shared.give_up(str(error))
        lease.release()
        lease = Lease()
    return Parcel(wire.tensors(network, arrays, lease.places), lease)


class _Placed(Placed):
    def __init__(
        self, engine: TritonEngine, network: Network, constants: Arrays, parcel: Parcel
    ) -> None:
        self._engine = engine
        self._network = network
        self._constants = constants
        self._parcel = parcel

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
        try:
            arrays = await self._run(
                self._engine.shared_memory, self._parcel, inputs, wanted, priority, timeout_s
            )
        except NotSharedError:
            parcel = await asyncio.to_thread(pack, None, network, self._constants)
            arrays = await self._run(None, parcel, inputs, wanted, priority, timeout_s)
        for tensor in wanted:
            if tensor.name not in arrays:
                raise ContractViolationError(f"{network.name}: {tensor.name} did not come back")
        check(wanted, arrays, where=network.name)
        return {tensor.name: arrays[tensor.name] for tensor in wanted}

    async def _run(
        self,
        shared: SharedMemory | None,
        constants: Parcel,
        inputs: Arrays,
        wanted: Sequence[Tensor],
        priority: Priority,
        timeout_s: float | None,
    ) -> Results:
        network, known = self._network, {**self._constants, **inputs}

        def load() -> tuple[bytes, Lease, Lease]:
            given = pack(shared, network, inputs)
            room = shared.room(network, known, wanted) if shared else Lease()
            header = wire.header(network, wanted, room.places, current().request_id)
            return wire.request(header, constants.pieces, given.pieces), given.lease, room

        def unload(response: bytes, room: Lease) -> dict[str, NDArray[Any]]:
            try:
                return wire.arrays(network, response, room.parts())
            except NotSharedError as error:
                assert shared
                shared.give_up(str(error))
                raise

        constants.lease.hold()
        leases = [constants.lease]
        try:
            request, *loaded = await asyncio.to_thread(load)
            leases += loaded
            response = await self._engine.infer(network, request, leases, priority, timeout_s)
            _, given, room = leases
            arrays = await asyncio.to_thread(unload, response, room)
        except BaseException as error:
            for lease in leases:
                # Unless it never began, or has ended, Triton may go on with it all the same.
                if not isinstance(error, NotSharedError):
                    lease.abandon()
                lease.release()
            if isinstance(error, wire.WireError):
                raise EngineUnavailableError(network.name, "its answer cannot be read") from error
            raise
        # The arrays have the room.
        constants.lease.release()
        given.release()
        if shared:
            shared.learn(network, known, arrays)
        return arrays
