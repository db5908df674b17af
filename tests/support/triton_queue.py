"""What Triton's queue does to executions, told by Triton's own counters."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import InferenceServerClient, InferInput, model_config_pb2
from tritonclient.utils import triton_to_np_dtype

from export.tensorrt.profiles import Workload, profile
from server.triton.contract import Network, Variant

HELD_NS = 100_000_000
"""Nothing waits for that long where nobody else asks for anything."""


@dataclass(frozen=True)
class Counters:
    """What a model has done since Triton started: rows are batch entries."""

    executions: int
    rows: int
    queue_ns: int

    @classmethod
    def of(cls, client: InferenceServerClient, model: str) -> "Counters":
        answer: Any = client.get_inference_statistics(model)
        (statistics,) = answer.model_stats
        return cls(
            executions=statistics.execution_count,
            rows=statistics.inference_count,
            queue_ns=statistics.inference_stats.queue.ns,
        )


@dataclass(frozen=True)
class Held:
    """How many of a client's requests Triton held in its queue, and the longest time."""

    requests: int
    held: int
    longest_ms: float


def model_config(client: InferenceServerClient, model: str) -> Any:
    """Returns a model's configuration as Triton completed it."""
    answer: Any = client.get_model_config(model)
    return answer.config


def read_config(text: str) -> Any:
    """Returns what a config.pbtxt says."""
    return text_format.Parse(text, model_config_pb2.ModelConfig())  # pyright: ignore[reportAttributeAccessIssue]


def warm_up_shapes(config: Any) -> Mapping[str, Sequence[int]]:
    """Returns the shapes of the request that a configuration names for the warm-up, no batch."""
    if not config.model_warmup:
        raise ValueError(f"{config.name} has no model_warmup, which would tell what it takes")
    return {name: list(given.dims) for name, given in config.model_warmup[0].inputs.items()}


def window_shapes(
    network: Network, config: Any, variant: Variant, size: tuple[int, int], frames: int
) -> Mapping[str, Sequence[int]]:
    """Returns the shapes of the request that a window of a stream makes, no batch."""
    dims = {entry.name: list(entry.dims) for entry in config.input}
    widths = {
        dim: length
        for tensor in network.inputs
        for dim, length in zip(tensor.dims, dims[tensor.name], strict=True)
        if isinstance(dim, str) and length != -1
    }
    usual = profile(network, Workload(variant, [size], [frames]), widths)
    return {name: shape[1:] for name, (_, shape, _) in usual.items()}


def zeros(config: Any, shapes: Mapping[str, Sequence[int]], rows: int = 1) -> list[InferInput]:
    """Returns the inputs of a request."""
    names: Any = model_config_pb2.DataType  # pyright: ignore[reportAttributeAccessIssue]
    inputs: list[InferInput] = []
    for entry in config.input:
        dtype = names.Name(entry.data_type).removeprefix("TYPE_")
        shape = [rows, *shapes[entry.name]]
        carrier = InferInput(entry.name, shape, dtype)
        inputs.append(carrier.set_data_from_numpy(np.zeros(shape, triton_to_np_dtype(dtype))))
    return inputs


def one_at_a_time(client: InferenceServerClient, model: str, requests: int) -> Held:
    """Sends each request as soon as the one before is answered, and counts those held back.

    The counter is read after every second one: reading it lets Triton catch its breath, which is
    when it holds nothing back.
    """
    config = model_config(client, model)
    inputs = zeros(config, warm_up_shapes(config))
    client.infer(model, inputs)
    before = Counters.of(client, model).queue_ns
    waits: list[int] = []
    for _ in range(requests // 2):
        client.infer(model, inputs)
        client.infer(model, inputs)
        now = Counters.of(client, model).queue_ns
        waits.append(now - before)
        before = now
    return Held(2 * len(waits), sum(wait > HELD_NS for wait in waits), max(waits) / 1e6)


def together(
    url: str, model: str, inputs: Sequence[InferInput], *, clients: int, requests: int
) -> Counters:
    """Has clients send their requests at the same time; returns what that took."""
    with InferenceServerClient(url) as client, ThreadPoolExecutor(clients) as threads:
        before = Counters.of(client, model)
        begin = threading.Barrier(clients)

        def work(_: int) -> None:
            with InferenceServerClient(url) as own:
                begin.wait()
                for _ in range(requests):
                    own.infer(model, inputs)

        list(threads.map(work, range(clients)))
        after = Counters.of(client, model)
    return Counters(
        after.executions - before.executions,
        after.rows - before.rows,
        after.queue_ns - before.queue_ns,
    )
