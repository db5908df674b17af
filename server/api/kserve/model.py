"""The model `avatar` as KServe describes models: its tensors, configuration and statistics."""

# The libraries' own annotations are missing or partial.
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from tritonclient.grpc import model_config_pb2, service_pb2

kserve: Any = service_pb2
model_config: Any = model_config_pb2

MODEL, VERSION = "avatar", "1"
PLATFORM = "echomimic"
EXTENSIONS = ("model_configuration", "sequence", "statistics")


@dataclass(frozen=True)
class Tensor:
    """A tensor of the model; -1 stands for any length."""

    name: str
    datatype: str
    shape: list[int]


AUDIO = Tensor("audio", "INT16", [-1])
"""Samples at 16 kHz, of one channel."""
PORTRAIT = Tensor("portrait", "BYTES", [1])
"""A picture file."""
INPUTS = (AUDIO, PORTRAIT)
OUTPUTS = (
    Tensor("frame", "BYTES", [1]),
    Tensor("index", "INT64", [1]),
    Tensor("presentation_time_ns", "INT64", [1]),
)
"""A JPEG file, its number in its stream of speech, and when it is to be shown."""
_CONFIG_TYPES = {"INT16": "TYPE_INT16", "INT64": "TYPE_INT64", "BYTES": "TYPE_STRING"}


def server_metadata() -> Any:
    """Returns what the server is."""
    return kserve.ServerMetadataResponse(
        name="echomimic-server", version=version("echomimic-server"), extensions=EXTENSIONS
    )


def inputs_listed(*, has_portrait: bool) -> tuple[Tensor, ...]:
    """Returns the inputs that a request needs.

    Where the server has a portrait of its own, a request's is an option that is not listed, since
    Triton's perf_analyzer fills what is listed with noise.
    """
    return (AUDIO,) if has_portrait else INPUTS


def model_metadata(inputs: Iterable[Tensor]) -> Any:
    """Returns the model's tensors, with some inputs."""
    listed, outputs = (
        [{"name": of.name, "datatype": of.datatype, "shape": of.shape} for of in tensors]
        for tensors in (inputs, OUTPUTS)
    )
    return kserve.ModelMetadataResponse(
        name=MODEL, versions=[VERSION], platform=PLATFORM, inputs=listed, outputs=outputs
    )


def model_configuration(inputs: Iterable[Tensor]) -> Any:
    """Returns how the model is called: one request, any number of responses, never a batch."""
    config = model_config.ModelConfig(name=MODEL, platform=PLATFORM, max_batch_size=0)
    config.model_transaction_policy.decoupled = True
    config.input.extend(model_config.ModelInput(**_in_config(of)) for of in inputs)
    config.output.extend(model_config.ModelOutput(**_in_config(of)) for of in OUTPUTS)
    return kserve.ModelConfigResponse(config=config)


def _in_config(tensor: Tensor) -> dict[str, Any]:
    kind = model_config.DataType.Value(_CONFIG_TYPES[tensor.datatype])
    return {"name": tensor.name, "data_type": kind, "dims": tensor.shape}


@dataclass
class _Sum:
    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        self.count += 1
        self.ns += ns


@dataclass
class Statistics:
    """Counts requests that have ended, as Triton does."""

    _success: _Sum = field(default_factory=_Sum)
    _fail: _Sum = field(default_factory=_Sum)
    _queue: _Sum = field(default_factory=_Sum)
    _compute: _Sum = field(default_factory=_Sum)
    _last_ms: int = 0

    def succeeded(self, queue_ns: int, compute_ns: int) -> None:
        """Counts a request: how long until it was taken up, and how long its frames took."""
        self._success.add(queue_ns + compute_ns)
        self._queue.add(queue_ns)
        self._compute.add(compute_ns)
        self._last_ms = time.time_ns() // 1_000_000

    def failed(self, ns: int) -> None:
        """Counts a request that was refused or failed."""
        self._fail.add(ns)

    def message(self) -> Any:
        """Returns them."""
        answer = kserve.ModelStatisticsResponse()
        stats = answer.model_stats.add(
            name=MODEL,
            version=VERSION,
            last_inference=self._last_ms,
            inference_count=self._success.count,
            execution_count=self._success.count,
        )
        sums = {"success": self._success, "fail": self._fail, "queue": self._queue}
        # perf_analyzer wants all three parts of computing; carrying tensors is a part of none.
        carrying = _Sum(self._compute.count, 0)
        computing = {"compute_input": carrying, "compute_infer": self._compute}
        for name, of in {**sums, **computing, "compute_output": carrying}.items():
            duration = getattr(stats.inference_stats, name)
            duration.count, duration.ns = of.count, of.ns
        return answer
