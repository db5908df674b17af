"""Triton's config.pbtxt of each network, printed from the contract.

Triton wants each dimension as the ONNX file has it: a number where the checkpoint fixes it, -1
where it varies from call to call. The files in git are those of the public checkpoints. KIND_AUTO
takes GPUs where there are some and the CPU elsewhere; thread counts belong to the start of Triton.
"""

# Generated classes that the type checker cannot see.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Mapping

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from server.manifest import CHECKPOINT_PARAMETER
from server.triton.contract import (
    IMAGE_ENCODER,
    TEXT_ENCODER,
    DType,
    Network,
    Tensor,
)

BACKEND, TENSORRT = "onnxruntime", "tensorrt"
MODEL_FILE, ENGINE_FILE = "model.onnx", "model.plan"
FILES = {BACKEND: MODEL_FILE, TENSORRT: ENGINE_FILE}
"""What each of Triton's backends runs."""
HEADER = "# Written by `python -m export onnx` from server/triton/contract.py. Do not edit.\n"

Shape = tuple[int, ...]

REPEATED = (TEXT_ENCODER.name, IMAGE_ENCODER.name)
"""Networks that are given the same prompts and portraits again and again."""

_DATA_TYPES: dict[DType, pb.DataType] = {
    "FP32": pb.TYPE_FP32,
    "FP16": pb.TYPE_FP16,
    "INT64": pb.TYPE_INT64,
    "UINT8": pb.TYPE_UINT8,
}


ON_GPUS: Mapping[str, str] = {"cudnn_conv_algo_search": "1", "arena_extend_strategy": "1"}
"""What the native onnxruntime backend tells ONNX Runtime on a GPU: to choose kernels of
convolutions by heuristics, where by default it tries all of them for every new shape, and to take
the memory that is asked for, where by default it takes the next power of two."""

_ANYWHERE = pb.ModelInstanceGroup.KIND_AUTO


def model_config(
    network: Network,
    widths: Mapping[str, int],
    warm_up: Mapping[str, Shape],
    backend: str = BACKEND,
    precision: str = "fp32",
    checkpoint: str | None = None,
    profiles: int = 0,
) -> pb.ModelConfig:
    """Returns a network's configuration.

    Args:
        network: which.
        widths: the dimensions that the checkpoint fixes.
        warm_up: the shapes of the inputs that it is tried with before it is ready.
        backend: which of Triton's runs it.
        precision: of its large weights; what is in int8 is for a CPU.
        checkpoint: the digest of the checkpoint that it is of, if it is of one.
        profiles: how many optimization profiles its engine has, if it is one.
    """
    return pb.ModelConfig(
        name=network.name,
        backend=backend,
        default_model_filename=FILES[backend],
        max_batch_size=network.max_batch_size,
        input=[
            pb.ModelInput(name=t.name, data_type=_DATA_TYPES[t.dtype], dims=_dims(t, widths))
            for t in network.inputs
        ],
        output=[
            pb.ModelOutput(name=t.name, data_type=_DATA_TYPES[t.dtype], dims=_dims(t, widths))
            for t in network.outputs
        ],
        version_policy=pb.ModelVersionPolicy(latest=pb.ModelVersionPolicy.Latest(num_versions=1)),
        instance_group=[
            pb.ModelInstanceGroup(
                count=1, kind=_place(backend, precision), profile=map(str, range(profiles))
            )
        ],
        # Merges what different streams ask for at the same moment; waits for nobody. No more is
        # said: levels of priority and limits of the queue make Triton hold executions back for half
        # a second, and preferred sizes close a waiting batch before it is full (docs/triton.md).
        dynamic_batching=pb.ModelDynamicBatching(),
        model_warmup=[_warm_up(network, warm_up)],
        parameters=_parameters(backend, precision, checkpoint, profiles),
        # Triton keeps no answer unless it is started with --cache-config.
        response_cache=pb.ModelResponseCache(enable=True) if network.name in REPEATED else None,
    )


def _place(backend: str, precision: str) -> "pb.ModelInstanceGroup.Kind":
    if precision == "int8":
        return pb.ModelInstanceGroup.KIND_CPU
    return pb.ModelInstanceGroup.KIND_GPU if backend == TENSORRT else _ANYWHERE


def _parameters(
    backend: str, precision: str, checkpoint: str | None, profiles: int
) -> dict[str, pb.ModelParameter]:
    values: dict[str, str] = {}
    if _place(backend, precision) == _ANYWHERE:
        values |= ON_GPUS
    if profiles > 1:
        # Each has a context of its own, which else takes the memory of the largest.
        values["execution_context_allocation_strategy"] = "ON_PROFILE_CHANGE"
    if checkpoint is not None:
        values[CHECKPOINT_PARAMETER] = checkpoint
    return {key: pb.ModelParameter(string_value=value) for key, value in values.items()}


def _warm_up(network: Network, shapes: Mapping[str, Shape]) -> pb.ModelWarmup:
    """Returns a request of zeros, so that whoever comes first need not wait for kernels to load."""
    inputs = {
        tensor.name: pb.ModelWarmup.Input(
            data_type=_DATA_TYPES[tensor.dtype], dims=shapes[tensor.name][1:], zero_data=True
        )
        for tensor in network.inputs
    }
    return pb.ModelWarmup(name="smallest", batch_size=1, inputs=inputs)


def config_pbtxt(
    network: Network,
    widths: Mapping[str, int],
    warm_up: Mapping[str, Shape],
    backend: str = BACKEND,
    precision: str = "fp32",
    checkpoint: str | None = None,
    profiles: int = 0,
) -> str:
    """Returns a network's config.pbtxt; the arguments are those of `model_config`."""
    config = model_config(network, widths, warm_up, backend, precision, checkpoint, profiles)
    text = text_format.MessageToString(config, use_short_repeated_primitives=True)
    return HEADER + text


def _dims(tensor: Tensor, widths: Mapping[str, int]) -> list[int]:
    return [dim if isinstance(dim, int) else widths.get(dim, -1) for dim in tensor.dims]
