"""A real Triton with toy networks, for the tests of how it is run and of its backend."""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import np_to_triton_dtype

from server.triton.container import Installation
from server.triton.contract import Network, Tensor
from server.triton.installation import TritonInstallation
from server.triton.ports import FREE_PORTS, Ports
from server.triton.process import RunningTriton, Threads, start_triton
from server.triton.workdir import regions
from tests.support.paths import ROOT

Value = tuple[str, int, Sequence[int | str]]
CONFIG_TYPES: dict[int, str] = {
    TensorProto.BOOL: "TYPE_BOOL",
    TensorProto.UINT8: "TYPE_UINT8",
    TensorProto.INT64: "TYPE_INT64",
    TensorProto.FLOAT16: "TYPE_FP16",
    TensorProto.FLOAT: "TYPE_FP32",
}
INFERENCE_TIMEOUT_S = 30.0
DOUBLING = Network(
    "doubling",
    (Tensor("x", "FP32", ("length",)),),
    (Tensor("y", "FP32", ("length",)),),
    max_batch_size=8,
)


def find_installation() -> TritonInstallation:
    """Returns Triton's environment, or skips the test that asked where it is absent."""
    default = ROOT / ".venv" / "triton"
    venv = Path(os.environ.get("ECHOMIMIC_TRITON_VENV", default))
    if not venv.is_dir():
        pytest.skip(f"no Triton at {venv}; `make .venv/triton/ready`, or set ECHOMIMIC_TRITON_VENV")
    return TritonInstallation.find(venv)


@contextmanager
def served(repository: Path, scratch: Path, ports: Ports = FREE_PORTS) -> Iterator[RunningTriton]:
    """Triton for synchronous fixtures, which outlive the event loop of a test."""
    context = start_triton(
        find_installation(),
        repository,
        runtime_dir=scratch,
        log_path=scratch / "triton.log",
        ports=ports,
        threads=Threads(intra_op=1),
        startup_deadline_s=60.0,
    )
    with asyncio.Runner() as runner:
        triton = runner.run(context.__aenter__())
        try:
            yield triton
        finally:
            runner.run(context.__aexit__(None, None, None))


async def infer(
    client: InferenceServerClient,
    model: str,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Sequence[str] = (),
) -> dict[str, NDArray[Any] | None]:
    """Runs a model once; no outputs means all."""
    carriers: list[InferInput] = []
    for name, array in inputs.items():
        carrier = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        carriers.append(carrier.set_data_from_numpy(array))
    result = await client.infer(
        model,
        carriers,
        outputs=[InferRequestedOutput(name) for name in outputs] or None,
        client_timeout=INFERENCE_TIMEOUT_S,
    )
    assert result is not None
    names = [output.name for output in result.get_response().outputs]
    return {name: result.as_numpy(name) for name in names}


def onnx_model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    constants: Mapping[str, NDArray[Any]] | None = None,
) -> onnx.ModelProto:
    """A checked ONNX model of an opset that every ONNX Runtime in use knows."""
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def add_model(
    repository: Path,
    name: str,
    model: onnx.ModelProto,
    *,
    max_batch_size: int = 0,
    extra: str = "",
    filename: str = "model.onnx",
) -> None:
    """Writes a model and the configuration that fits it."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    onnx.save(model, folder / "1" / filename)
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', f"max_batch_size: {max_batch_size}"]
    for kind, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            tensor = value.type.tensor_type
            dims = [dim.dim_value or -1 for dim in tensor.shape.dim][1 if max_batch_size else 0 :]
            lines.append(
                f'{kind} {{ name: "{value.name}" data_type: {CONFIG_TYPES[tensor.elem_type]} '
                f"dims: {dims} }}"
            )
    lines += ["instance_group { kind: KIND_AUTO count: 1 }", extra]
    (folder / "config.pbtxt").write_text("\n".join(lines))


def doubling() -> onnx.ModelProto:
    """Output y = 2 x, of any shape [batch, length]."""
    shape = ["batch", "length"]
    return onnx_model(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [("x", TensorProto.FLOAT, shape)],
        [("y", TensorProto.FLOAT, shape)],
    )


def repeating() -> onnx.ModelProto:
    """Takes as long as asked: multiplies matrices `trips` times."""
    size = 256
    matrix = (TensorProto.FLOAT, [size, size])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("MatMul", ["m", "identity"], ["m_next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("m", *matrix),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("m_next", *matrix),
        ],
    )
    return onnx_model(
        [
            helper.make_node("Squeeze", ["trips"], ["count"]),
            helper.make_node("Loop", ["count", "", "identity"], ["last"], body=body),
        ],
        [("trips", TensorProto.INT64, [1])],
        [("last", *matrix)],
        {"identity": np.eye(size, dtype=np.float32)},
    )


@dataclass(frozen=True)
class Scene:
    """A model repository, and where Triton may write."""

    repository: Path
    runtime_dir: Path
    log_path: Path

    def start(
        self, installation: Installation, *, startup_deadline_s: float = 60.0, **options: Any
    ) -> AbstractAsyncContextManager[RunningTriton]:
        return start_triton(
            installation,
            self.repository,
            runtime_dir=self.runtime_dir,
            log_path=self.log_path,
            startup_deadline_s=startup_deadline_s,
            **options,
        )

    def shared_memory(self) -> list[Path]:
        """Regions of the Triton that runs here."""
        (workdir,) = self.runtime_dir.iterdir()
        return regions(workdir)

    def processes(self) -> list[psutil.Process]:
        """Processes of the Triton that runs here, told by their working directory."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            try:
                if str(self.runtime_dir) in process.cwd():
                    found.append(process)
            except psutil.Error:
                continue
        return found


def toy_scene(tmp_path: Path) -> Scene:
    """Two models, at a path with what a shell would trip over."""
    repository = tmp_path / "the models; $HOME"
    add_model(repository, "doubling", doubling(), max_batch_size=8)
    add_model(repository, "repeating", repeating())
    (repository / "README.md").write_text("Files beside the models are nobody's business.")
    return Scene(repository, tmp_path / "run time", tmp_path / "logs" / "triton.log")
