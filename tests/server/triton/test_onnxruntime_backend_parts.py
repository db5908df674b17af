"""The parts of Triton's onnxruntime backend, with stand-ins for what Triton's Python provides."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from server.triton.installation import BACKENDS
from server.triton.process import PARAMETERS_VARIABLE
from tests.support.toy_triton import add_model, onnx_model


class ModelError(Exception):
    """TritonModelException."""


@dataclass(frozen=True)
class Tensor:
    label: str
    array: NDArray[Any]

    def name(self) -> str:
        return self.label

    def as_numpy(self) -> NDArray[Any]:
        return self.array

    def shape(self) -> list[int]:
        return list(self.array.shape)


@dataclass(frozen=True)
class Request:
    arrays: dict[str, NDArray[Any]]
    outputs: list[str]

    def inputs(self) -> list[Tensor]:
        return [Tensor(name, array) for name, array in self.arrays.items()]

    def requested_output_names(self) -> list[str]:
        return self.outputs


@dataclass(frozen=True)
class Response:
    tensors: list[Tensor]


@pytest.fixture(scope="module")
def backend() -> Iterator[Any]:
    """The backend's module."""
    pb_utils = ModuleType("triton_python_backend_utils")
    vars(pb_utils).update(
        TritonModelException=ModelError, Tensor=Tensor, InferenceResponse=Response
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, pb_utils.__name__, pb_utils)
        path = BACKENDS / "onnxruntime" / "model.py"
        spec = importlib.util.spec_from_file_location("onnxruntime_backend", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        # This process is none of Triton's, and shall not end with its parent.
        patch.setattr(module, "end_with", lambda parent: None)
        yield module


def test_one_call_may_mix_shapes_and_outputs(
    backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    value = (TensorProto.FLOAT, ["batch", "length"])
    nodes = [helper.make_node(op, ["x"], [op]) for op in ("Neg", "Abs")]
    outputs = [("Neg", *value), ("Abs", *value)]
    add_model(tmp_path, "signs", onnx_model(nodes, [("x", *value)], outputs), max_batch_size=9)
    instance = backend.TritonPythonModel()
    model_config = {"max_batch_size": 9, "input": [tensor("x", [-1])], "output": []}
    instance.initialize(
        {
            "model_config": json.dumps(model_config),
            "model_repository": str(tmp_path / "signs"),
            "model_version": "1",
        }
    )
    batches: list[tuple[int, ...]] = []
    session: ort.InferenceSession = instance._session

    def run(names: list[str], feed: dict[str, NDArray[Any]]) -> Any:
        batches.append(feed["x"].shape)
        return session.run(names, feed)

    monkeypatch.setattr(instance, "_session", SimpleNamespace(run=run))
    rng = np.random.default_rng(3)
    shapes = [(1, 4), (2, 3), (3, 4), (1, 3), (2, 4)]
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    wanted = [["Neg"], ["Abs"], ["Abs"], ["Abs", "Neg"], ["Neg", "Abs"]]
    responses = instance.execute(
        [Request({"x": x}, names) for x, names in zip(arrays, wanted, strict=True)]
    )
    assert batches == [(6, 4), (3, 3)]
    expected = {"Neg": np.negative, "Abs": np.abs}
    for x, names, response in zip(arrays, wanted, responses, strict=True):
        assert [output.label for output in response.tensors] == names
        for output in response.tensors:
            np.testing.assert_array_equal(output.array, expected[output.label](x), strict=True)


def parameters(**values: str) -> dict[str, Any]:
    return {"parameters": {key: {"string_value": value} for key, value in values.items()}}


def test_the_configuration_wins_over_the_values_given_at_start(
    backend: Any, monkeypatch: pytest.MonkeyPatch
):
    at_start = {"intra_op_thread_count": "3", "inter_op_thread_count": "2"}
    monkeypatch.setenv(PARAMETERS_VARIABLE, json.dumps(at_start))
    options = backend.session_options(parameters(intra_op_thread_count="5"))
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (5, 2)


def test_options_are_those_of_the_native_backend(backend: Any):
    config = parameters(execution_mode="1", enable_mem_arena="0", enable_mem_pattern="0")
    options = backend.session_options(config | {"optimization": {"graph": {"level": 2}}})
    assert options.execution_mode == ort.ExecutionMode.ORT_PARALLEL
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert not options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern


def test_idle_threads_sleep_unless_the_configuration_says_otherwise(backend: Any):
    key = "session.intra_op.allow_spinning"
    assert backend.session_options({}).get_session_config_entry(key) == "0"
    spinning = backend.session_options(parameters(**{key: "1"}))
    assert spinning.get_session_config_entry(key) == "1"


def test_a_parameter_that_is_not_understood_is_refused(backend: Any):
    with pytest.raises(ModelError, match="'fast'"):
        backend.session_options(parameters(execution_mode="fast"))


def tensor(name: str, dims: list[int], data_type: str = "TYPE_FP32") -> dict[str, Any]:
    # Triton prints 64-bit integers in JSON as strings or numbers.
    return {"name": name, "dims": [str(dim) for dim in dims], "data_type": data_type}


X, Y = tensor("x", [-1, 3]), tensor("y", [-1, 3])


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        pytest.param([X], [Y], id="as in the file"),
        pytest.param([tensor("x", [7, 3])], [Y], id="an open length of an input is fixed"),
        pytest.param([X], [], id="an output is left out"),
    ],
)
def test_a_configuration_that_the_native_backend_takes_is_taken(
    backend: Any, inputs: list[Any], outputs: list[Any], tmp_path: Path
):
    backend.check(fixed_width_session(), config(inputs, outputs))


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ([tensor("x", [-1, -1])], [Y], r"x is TYPE_FP32 \[-1, -1, 3\] in the ONNX file"),
        ([tensor("x", [-1, 4])], [Y], r"TYPE_FP32 \[-1, -1, 4\] in config.pbtxt"),
        ([tensor("x", [-1])], [Y], "x is"),
        ([tensor("x", [-1, 3, 1])], [Y], "x is"),
        ([tensor("x", [-1, 3], "TYPE_FP16")], [Y], "TYPE_FP16"),
        ([X], [tensor("y", [7, 3])], "y is"),
        ([X], [tensor("y", [-1, -1])], "y is"),
        ([X, tensor("z", [1])], [Y], r"no z, only \['x'\]"),
        ([], [Y], r"lacks the inputs \['x'\]"),
        ([X], [X], r"no x, only \['y'\]"),
    ],
)
def test_a_configuration_that_the_native_backend_refuses_is_refused(
    backend: Any, inputs: list[Any], outputs: list[Any], message: str
):
    with pytest.raises(ModelError, match=message):
        backend.check(fixed_width_session(), config(inputs, outputs))


def test_a_model_with_a_fixed_batch_cannot_be_batched(backend: Any):
    session = fixed_width_session(batch=1)
    with pytest.raises(ModelError, match="x is"):
        backend.check(session, config([X], [Y]))


def config(inputs: list[Any], outputs: list[Any]) -> dict[str, Any]:
    return {"max_batch_size": 4, "input": inputs, "output": outputs}


def fixed_width_session(batch: int | str = "batch") -> ort.InferenceSession:
    value = (TensorProto.FLOAT, [batch, "length", 3])
    model = onnx_model([helper.make_node("Neg", ["x"], ["y"])], [("x", *value)], [("y", *value)])
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
