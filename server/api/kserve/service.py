"""KServe's service: each method hands over to the module that does it."""

# The libraries' own annotations are missing or partial.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from collections.abc import Callable
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from server.api.calls import Call
from server.api.kserve import model
from server.api.kserve.messages import check_model
from server.api.kserve.stream import stream_infer
from server.api.methods import add_service
from server.errors import InvalidFieldError, NotBuiltError
from server.sessions.gateway import Gateway

kserve: Any = service_pb2
SERVICE = kserve.DESCRIPTOR.services_by_name["GRPCInferenceService"]


class InferenceService:
    """`inference.GRPCInferenceService`, of which Triton's clients and perf_analyzer ask."""

    name: str = SERVICE.full_name

    def __init__(
        self, gateway: Gateway, is_ready: Callable[[], bool], portrait: bytes | None = None
    ) -> None:
        """Serves a gateway.

        Args:
            gateway: draws.
            is_ready: tells whether it can.
            portrait: who speaks where a request has nobody, or None where there is nobody.
        """
        self._gateway = gateway
        self._is_ready = is_ready
        self._portrait = portrait
        self._inputs = model.inputs_listed(has_portrait=portrait is not None)
        self._statistics = model.Statistics()
        self._answers: dict[str, Callable[[Any], Any]] = {
            "ServerLive": lambda _: kserve.ServerLiveResponse(live=True),
            "ServerReady": lambda _: kserve.ServerReadyResponse(ready=is_ready()),
            "ModelReady": self._model_ready,
            "ServerMetadata": lambda _: model.server_metadata(),
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "ModelInfer": self._model_infer,
            # No memory is ever registered, so that there is none to tell of or to let go.
            "SystemSharedMemoryStatus": lambda _: kserve.SystemSharedMemoryStatusResponse(),
            "SystemSharedMemoryUnregister": lambda _: kserve.SystemSharedMemoryUnregisterResponse(),
            "CudaSharedMemoryStatus": lambda _: kserve.CudaSharedMemoryStatusResponse(),
            "CudaSharedMemoryUnregister": lambda _: kserve.CudaSharedMemoryUnregisterResponse(),
        }

    def add_to(self, server: grpc.aio.Server) -> None:
        """Adds the methods to a server that has not started."""
        add_service(server, SERVICE, self._gateway, self._serve)

    async def _serve(self, method: str, call: Call) -> None:
        if method == "ModelStreamInfer":
            await stream_infer(self._gateway, call, self._statistics, self._portrait)
        elif method in self._answers:
            kind = getattr(kserve, SERVICE.methods_by_name[method].input_type.name)
            message = await call.read_one(kind, self._gateway.offer.settings.start_timeout_s)
            await call.send(self._answers[method](message))
        else:
            raise NotBuiltError(method)

    def _model_ready(self, message: Any) -> Any:
        is_ours = message.name == model.MODEL and message.version in ("", model.VERSION)
        return kserve.ModelReadyResponse(ready=is_ours and self._is_ready())

    def _model_metadata(self, message: Any) -> Any:
        check_model(message.name, message.version, "name")
        return model.model_metadata(self._inputs)

    def _model_config(self, message: Any) -> Any:
        check_model(message.name, message.version, "name")
        return model.model_configuration(self._inputs)

    def _model_statistics(self, message: Any) -> Any:
        check_model(message.name or model.MODEL, message.version, "name")
        return self._statistics.message()

    def _model_infer(self, message: Any) -> Any:
        check_model(message.model_name, message.model_version, "model_name")
        problem = "is decoupled: a request has many responses; use ModelStreamInfer"
        raise InvalidFieldError("model_name", problem)
