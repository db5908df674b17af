"""A gRPC server that speaks Triton's protocol in front of a fake engine: no Triton, no networks.

python -m tests.support.hollow_triton    serves until killed, and prints its address first:
                                         zeros of the sizes of the public models
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from server.manifest import CHECKPOINT_PARAMETER
from server.triton.contract import FACE_DETECTOR, NETWORKS, NUMPY_DTYPES
from server.triton.engine import Engine
from tests.support.fake_engine import FakeEngine
from tests.support.public_engine import PublicEngine

pb: Any = service_pb2
config_pb: Any = model_config_pb2
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class HollowTriton(GRPCInferenceServiceServicer):
    """Answers inferences as an engine does, or with the status it is told."""

    def __init__(self, engine: Engine, remembers: int) -> None:
        self.address = ""
        self.engine = engine
        self.requests: deque[Any] = deque(maxlen=remembers)
        self.status: tuple[grpc.StatusCode, str] | None = None
        self.configurations = 0
        """How often one was asked for."""
        self.checkpoint: str | None = "test"
        """What every network's configuration names, but for the face detector's."""

    async def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.ServerLiveResponse(live=True)

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.configurations += 1
        config = config_pb.ModelConfig(name=request.name)
        if self.checkpoint is not None and request.name != FACE_DETECTOR.name:
            config.parameters[CHECKPOINT_PARAMETER].string_value = self.checkpoint
        return pb.ModelConfigResponse(config=config)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        if self.status is not None:
            await context.abort(*self.status)
        inputs = {
            tensor.name: np.frombuffer(raw, NUMPY_DTYPES[tensor.datatype]).reshape(tensor.shape)
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        variant = "preview" if "face_mask" in inputs or set(inputs) == {"waveform"} else "flash"
        network = {**NETWORKS["preview"], **NETWORKS[variant]}[request.model_name]
        types = {tensor.name: tensor.dtype for tensor in network.outputs}
        names = [output.name for output in request.outputs]
        results = await self.engine.run(network, inputs, names)
        response = pb.ModelInferResponse(model_name=network.name)
        for name, array in results.items():
            response.outputs.add(name=name, datatype=types[name], shape=array.shape)
            response.raw_output_contents.append(np.ascontiguousarray(array).tobytes())
        return response


@asynccontextmanager
async def hollow_triton(
    address: str = "127.0.0.1:0", engine: Engine | None = None, *, remembers: int = 100
) -> AsyncIterator[HollowTriton]:
    """Serves on a free port, unless one is given; without an engine, the small fake one."""
    triton = HollowTriton(engine or FakeEngine(), remembers)
    server = grpc.aio.server(options=OPTIONS)
    add_GRPCInferenceServiceServicer_to_server(triton, server)
    host = address.rpartition(":")[0]
    triton.address = f"{host}:{server.add_insecure_port(address)}"
    await server.start()
    try:
        yield triton
    finally:
        await server.stop(None)


async def main() -> None:
    async with hollow_triton(engine=PublicEngine(), remembers=0) as triton:
        print(triton.address, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
