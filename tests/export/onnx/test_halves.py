"""FP16 at the borders of a graph, computed by ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from export.onnx.compare import run_onnx
from export.onnx.halves import halve_borders
from server.triton.contract import Network, Tensor

NETWORK = Network(
    name="sum",
    inputs=(Tensor("latents", "FP32", (2,), halved=True), Tensor("timestep", "FP32", (2,))),
    outputs=(Tensor("velocity", "FP32", (2,), halved=True), Tensor("residual", "FP32", (2,))),
    max_batch_size=1,
)


def graph() -> onnx.ModelProto:
    """velocity = latents + timestep; residual = velocity + latents."""

    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])

    nodes = [
        helper.make_node("Add", ["latents", "timestep"], ["velocity"]),
        helper.make_node("Add", ["velocity", "latents"], ["residual"]),
    ]
    inputs, outputs = map(value, ("latents", "timestep")), map(value, ("velocity", "residual"))
    made = helper.make_graph(nodes, "sum", list(inputs), list(outputs))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_names_stay_and_the_graph_computes_in_32_bits(tmp_path: Path) -> None:
    model = graph()
    halve_borders(model, NETWORK)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "model.onnx")
    # In 16 bits 2048 + 1 would be 2048.
    given = {
        "latents": np.array([2048, 1], np.float16),
        "timestep": np.array([1, 1e-3], np.float32),
    }
    found = run_onnx(tmp_path / "model.onnx", given, ["velocity", "residual"])
    assert found["velocity"].dtype == np.float16
    residual = found["residual"].astype(np.float64)
    np.testing.assert_allclose(residual, [4097, 2.001], rtol=1e-6)
