"""Weights of an ONNX graph in half the room, where that loses nothing."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MIN_ELEMENTS = 256
"""A smaller tensor is not worth a node of its own."""


def store_halves(model: onnx.ModelProto) -> None:
    """Stores the float32 weights that half precision holds exactly as such, and casts them back.

    Checkpoints in half precision have many. ONNX Runtime casts them once, when it loads the graph,
    so that what is computed stays the same to the bit.
    """
    casts: list[onnx.NodeProto] = []
    for weight in model.graph.initializer:
        embedded = weight.data_location != TensorProto.EXTERNAL
        if not embedded or weight.data_type != TensorProto.FLOAT:
            continue
        array = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if array.size < MIN_ELEMENTS or not np.array_equal(half, array):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
