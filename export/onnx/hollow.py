"""Graphs that compute nothing: they answer with zeros, in the shapes that the contract says."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, helper, numpy_helper

from server.triton.contract import (
    FRAMES_PER_LATENT,
    NUMPY_DTYPES,
    PATCH,
    PIXELS_PER_LATENT,
    Dim,
    Network,
    Tensor,
)

OPSET, IR_VERSION = 17, 8
"""Known to every ONNX Runtime in use."""


def hollow_graph(network: Network, widths: Mapping[str, int]) -> ModelProto:
    """Returns a graph with a network's inputs and outputs that does no work.

    Args:
        network: as it is on the wire.
        widths: the dimensions that a checkpoint fixes.
    """
    lengths = _Lengths(network, widths)
    for tensor in network.outputs:
        lengths.zeros(tensor)
    graph = helper.make_graph(
        lengths.nodes,
        network.name,
        [_described(tensor, widths) for tensor in network.inputs],
        [_described(tensor, widths) for tensor in network.outputs],
        lengths.constants,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    checker.check_model(model)
    return model


def _described(tensor: Tensor, widths: Mapping[str, int]) -> ValueInfoProto:
    shape = [widths.get(dim, dim) if isinstance(dim, str) else dim for dim in tensor.dims]
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(NUMPY_DTYPES[tensor.dtype]))
    return helper.make_tensor_value_info(tensor.name, dtype, ["batch", *shape])


class _Lengths:
    """Nodes that tell the length of each dimension, [1] each, from those of the inputs."""

    def __init__(self, network: Network, widths: Mapping[str, int]) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._widths = widths
        self._given = {
            dim: (tensor.name, axis)
            for tensor in network.inputs
            for axis, dim in enumerate(("batch", *tensor.dims))
            if isinstance(dim, str)
        }
        self._derived: dict[str, Callable[[], str]] = {
            "frames": self._frames,
            "latent_frames": self._latent_frames,
            "height": lambda: self._times("latent_height", PIXELS_PER_LATENT),
            "width": lambda: self._times("latent_width", PIXELS_PER_LATENT),
            "latent_height": lambda: self._part("height", PIXELS_PER_LATENT),
            "latent_width": lambda: self._part("width", PIXELS_PER_LATENT),
            "tokens": self._tokens,
        }

    def zeros(self, tensor: Tensor) -> None:
        """Adds what makes an output."""
        parts = [self._length(dim) for dim in ("batch", *tensor.dims)]
        shape = self._node("Concat", *parts, axis=0)
        zero = numpy_helper.from_array(np.zeros(1, NUMPY_DTYPES[tensor.dtype]))
        self.nodes.append(helper.make_node("ConstantOfShape", [shape], [tensor.name], value=zero))

    def _length(self, dim: Dim) -> str:
        if isinstance(dim, int):
            return self._constant(dim)
        if dim in self._widths:
            return self._constant(self._widths[dim])
        if dim in self._given:
            name, axis = self._given[dim]
            return self._node("Shape", name, start=axis, end=axis + 1)
        return self._derived[dim]()

    def _frames(self) -> str:
        later = self._node("Sub", self._length("latent_frames"), self._constant(1))
        unfolded = self._node("Mul", later, self._constant(FRAMES_PER_LATENT))
        return self._node("Add", unfolded, self._constant(1))

    def _latent_frames(self) -> str:
        # Rounded up, as 4k + 1 frames are k + 1.
        frames = self._node("Add", self._length("known_frames"), self._length("grey_frames"))
        up = self._node("Add", frames, self._constant(FRAMES_PER_LATENT - 1))
        return self._node("Div", up, self._constant(FRAMES_PER_LATENT))

    def _tokens(self) -> str:
        rows, columns = self._part("latent_height", PATCH), self._part("latent_width", PATCH)
        area = self._node("Mul", rows, columns)
        return self._node("Mul", self._length("latent_frames"), area)

    def _times(self, dim: str, factor: int) -> str:
        return self._node("Mul", self._length(dim), self._constant(factor))

    def _part(self, dim: str, divisor: int) -> str:
        return self._node("Div", self._length(dim), self._constant(divisor))

    def _constant(self, number: int) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array([number], np.int64), name))
        return name

    def _node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"length_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name
