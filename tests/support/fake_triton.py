"""A gRPC server that speaks Triton's protocol in front of a fake engine: no Triton, no networks."""

from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from server.manifest import CHECKPOINT_PARAMETER
from server.triton.contract import NUMPY_DTYPES, OF_NO_CHECKPOINT, SERVED
from server.triton.engine import Engine
from server.triton.workdir import SHARED_MEMORY
from tests.support.fake_cuda import FakeCuda
from tests.support.fake_engine import FakeEngine

pb: Any = service_pb2
config_pb: Any = model_config_pb2
REMEMBERED = 100
"""Requests."""
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class FakeTriton(GRPCInferenceServiceServicer):
    """Answers inferences as an engine does, or with the status it is told."""

    def __init__(self) -> None:
        self.address = ""
        self.engine: Engine = FakeEngine()
        self.requests: deque[Any] = deque(maxlen=REMEMBERED)
        self.metadata: dict[str, Any] = {}
        """Of the last request."""
        self.status: tuple[grpc.StatusCode, str] | None = None
        self.regions: dict[str, NDArray[np.uint8]] = {}
        """What clients share, by name."""
        self.shares = True
        self.cuda: FakeCuda | None = None
        """Its GPU's, if it has one."""
        self.configurations = 0
        """How often one was asked for."""
        self.checkpoint: str | None = "test"
        """What every network's configuration names, but for those that look at faces."""

    async def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.ServerLiveResponse(live=True)

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.configurations += 1
        config = config_pb.ModelConfig(name=request.name)
        if self.checkpoint is not None and request.name not in OF_NO_CHECKPOINT:
            config.parameters[CHECKPOINT_PARAMETER].string_value = self.checkpoint
        return pb.ModelConfigResponse(config=config)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        if self.status is not None:
            await context.abort(*self.status)
        for tensor in (*request.inputs, *request.outputs):
            # Asking a map for a key adds it.
            if "shared_memory_region" not in tensor.parameters:
                continue
            region = tensor.parameters["shared_memory_region"].string_param
            if region not in self.regions:
                problem = f"Unable to find shared memory region: '{region}'"
                await context.abort(grpc.StatusCode.NOT_FOUND, problem)
        raws = iter(request.raw_input_contents)
        inputs = {
            tensor.name: self._of(tensor, raws)
            .view(NUMPY_DTYPES[tensor.datatype])
            .reshape(tensor.shape)
            for tensor in request.inputs
        }
        variant = "preview" if "face_mask" in inputs or set(inputs) == {"waveform"} else "flash"
        network = {**SERVED["preview"], **SERVED[variant]}[request.model_name]
        types = {tensor.name: tensor.dtype for tensor in network.outputs}
        names = [output.name for output in request.outputs]
        results = await self.engine.run(network, inputs, names)
        response = pb.ModelInferResponse(model_name=network.name)
        for output in request.outputs:
            array = results[output.name]
            raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            response.outputs.add(name=output.name, datatype=types[output.name], shape=array.shape)
            if "shared_memory_region" not in output.parameters:
                response.raw_output_contents.append(raw.tobytes())
                continue
            place = self._place(output)
            if raw.nbytes > place.nbytes:
                problem = "shared memory size specified with the request for output is too small"
                await context.abort(grpc.StatusCode.INTERNAL, problem)
            place[: raw.nbytes] = raw
            response.raw_output_contents.append(b"")
        return response

    async def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:  # noqa: N802
        if not self.shares:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not without --allow-client-shm")
        if request.name in self.regions:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "already in manager")
        try:
            path = SHARED_MEMORY / request.key.removeprefix("/")
            self.regions[request.name] = np.memmap(path, np.uint8, "r+", shape=request.byte_size)
        except OSError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Unable to open: {error}")
        return pb.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.name:
            self.regions.pop(request.name, None)
        else:
            self.regions.clear()
        return pb.SystemSharedMemoryUnregisterResponse()

    async def SystemSharedMemoryStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        status = pb.SystemSharedMemoryStatusResponse()
        for name, memory in self.regions.items():
            status.regions[name].byte_size = memory.nbytes
        return status

    async def CudaSharedMemoryRegister(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.cuda is None:
            problem = "failed to register CUDA shared memory region"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
        assert self.cuda
        if request.name in self.regions:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "already in manager")
        self.regions[request.name] = self.cuda.opened(request.raw_handle)[: request.byte_size]
        return pb.CudaSharedMemoryRegisterResponse()

    async def CudaSharedMemoryUnregister(self, request: Any, context: Any) -> Any:  # noqa: N802
        assert request.name
        self.regions.pop(request.name, None)
        return pb.CudaSharedMemoryUnregisterResponse()

    async def CudaSharedMemoryStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        status = pb.CudaSharedMemoryStatusResponse()
        for name, memory in self.regions.items():
            status.regions[name].byte_size = memory.nbytes
        return status

    def _of(self, tensor: Any, raws: Iterator[bytes]) -> NDArray[np.uint8]:
        if "shared_memory_region" in tensor.parameters:
            return self._place(tensor)
        return np.frombuffer(next(raws), np.uint8)

    def _place(self, tensor: Any) -> NDArray[np.uint8]:
        """The bytes of a region that a tensor lies in."""
        memory = self.regions[tensor.parameters["shared_memory_region"].string_param]
        begin = tensor.parameters["shared_memory_offset"].int64_param
        return memory[begin : begin + tensor.parameters["shared_memory_byte_size"].int64_param]


@asynccontextmanager
async def fake_triton(address: str = "127.0.0.1:0") -> AsyncIterator[FakeTriton]:
    """Serves on a free port, unless one is given."""
    triton = FakeTriton()
    server = grpc.aio.server(options=OPTIONS)
    add_GRPCInferenceServiceServicer_to_server(triton, server)
    host = address.rpartition(":")[0]
    triton.address = f"{host}:{server.add_insecure_port(address)}"
    await server.start()
    try:
        yield triton
    finally:
        await server.stop(None)
