"""TensorFlow Lite files to ONNX graphs: the few operators that MediaPipe's networks of faces have.

TensorFlow's pictures have their channels last, ONNX's convolutions want them first. Pictures are
turned once as they come, and each result once as it goes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import tflite
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from server.triton.contract import Network

OPSET = 17
OPERATORS = {
    code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)
}
TYPES: Mapping[int, type[np.generic]] = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}
CHANNELS_FIRST, CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
PICTURE_RANK = 4


def to_onnx(
    data: bytes, network: Network, outputs: Sequence[str], scale: float, offset: float
) -> onnx.ModelProto:
    """Converts a file, with a picture of bytes as its input and a batch of any length.

    The weights are stored in half precision and computed with in single precision.

    Args:
        data: the file.
        network: what the graph is to be: its one input a picture, UINT8 [height, width, 3].
        outputs: the file's names of the network's outputs, in their order.
        scale: what the network sees is ``scale`` times the bytes of the picture, plus ``offset``.
        offset: see above.

    Raises:
        ValueError: the file has an operator, or a kind of one, that is not known here.
    """
    model: Any = tflite.Model.GetRootAs(data, 0)
    graph = _Graph(model, model.Subgraphs(0))
    graph.see(network.inputs[0].name, scale, offset)
    graph.convert()
    for tensor, theirs in zip(network.outputs, outputs, strict=True):
        graph.give(theirs, tensor.name, tensor.dims)
    made = helper.make_graph(
        graph.nodes,
        network.name,
        [_value(t.name, TensorProto.UINT8, t.dims) for t in network.inputs],
        [_value(t.name, TensorProto.FLOAT, t.dims) for t in network.outputs],
        graph.weights,
    )
    converted = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])
    converted.ir_version = 8
    onnx.checker.check_model(converted, full_check=True)
    return converted


def _value(name: str, kind: int, dims: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["batch", *dims])


@dataclass
class _Graph:
    """A graph while it is converted; tensors are known by the numbers that they have in the file.

    Attributes:
        model: the file.
        theirs: its one subgraph.
        nodes: what there is of the ONNX graph.
        weights: its constants.
    """

    model: Any
    theirs: Any
    nodes: list[NodeProto] = field(default_factory=list[NodeProto])
    weights: list[TensorProto] = field(default_factory=list[TensorProto])

    def see(self, name: str, scale: float, offset: float) -> None:
        """Begins with a picture of bytes."""
        self._node("Cast", [name], f"{name}/float", to=TensorProto.FLOAT)
        factor = self._constant("scale", np.float32(scale))
        self._node("Mul", [f"{name}/float", factor], f"{name}/scaled")
        shift = self._constant("offset", np.float32(offset))
        self._node("Add", [f"{name}/scaled", shift], f"{name}/moved")
        target = str(self.theirs.Inputs(0))
        self._node("Transpose", [f"{name}/moved"], target, perm=CHANNELS_FIRST)

    def convert(self) -> None:
        """Converts every operator."""
        for index in range(self.theirs.OperatorsLength()):
            operator = self.theirs.Operators(index)
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            name = OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            if name not in CONVERSIONS:
                raise ValueError(f"{name} is not an operator that can be converted")
            CONVERSIONS[name](self, operator)

    def give(self, theirs: str, name: str, dims: Sequence[int | str]) -> None:
        """Ends with one of the file's outputs, under another name and in another shape."""
        (index,) = (
            i
            for i in self.theirs.OutputsAsNumpy()
            if self.theirs.Tensors(i).Name() == theirs.encode()
        )
        self._reshape(index, name, dims)

    def convolution(self, operator: Any) -> None:
        """Converts a convolution: [out, rows, columns, in] to [out, in, rows, columns]."""
        options = _options(operator, tflite.Conv2DOptions())
        kernel = self._read(operator.Inputs(1)).transpose(0, 3, 1, 2)
        self._convolve(operator, options, kernel, groups=1)

    def depthwise(self, operator: Any) -> None:
        """Converts a convolution of each channel: [1, rows, columns, n] to [n, 1, ...]."""
        options = _options(operator, tflite.DepthwiseConv2DOptions())
        kernel = self._read(operator.Inputs(1)).transpose(3, 0, 1, 2)
        self._convolve(operator, options, kernel, groups=len(kernel))

    def pool(self, operator: Any) -> None:
        """Converts a maximum over neighbours."""
        options = _options(operator, tflite.Pool2DOptions())
        window = (options.FilterHeight(), options.FilterWidth())
        _plain(options)
        self._node(
            "MaxPool",
            [str(operator.Inputs(0))],
            str(operator.Outputs(0)),
            kernel_shape=window,
            strides=(options.StrideH(), options.StrideW()),
            pads=self._pads(operator, options, window),
        )

    def pad(self, operator: Any) -> None:
        """Converts zeros at the borders."""
        before, after = self._read(operator.Inputs(1))[list(CHANNELS_FIRST)].T
        pads = self._constant(f"{operator.Outputs(0)}/pads", np.array([*before, *after], np.int64))
        self._node("Pad", [str(operator.Inputs(0)), pads], str(operator.Outputs(0)))

    def prelu(self, operator: Any) -> None:
        """Converts a rectifier with a slope for each channel: [1, 1, n] to [n, 1, 1]."""
        slope = self._read(operator.Inputs(1)).reshape(-1, 1, 1)
        weight = self._weight(operator.Inputs(1), slope)
        self._node("PRelu", [str(operator.Inputs(0)), weight], str(operator.Outputs(0)))

    def relu(self, operator: Any) -> None:
        """Converts a rectifier."""
        self._node("Relu", [str(operator.Inputs(0))], str(operator.Outputs(0)))

    def add(self, operator: Any) -> None:
        """Converts a sum."""
        _plain(_options(operator, tflite.AddOptions()))
        summands = [str(index) for index in operator.InputsAsNumpy()]
        self._node("Add", summands, str(operator.Outputs(0)))

    def reshape(self, operator: Any) -> None:
        """Converts another shape; the batch stays first."""
        index = operator.Outputs(0)
        self._reshape(operator.Inputs(0), str(index), self._shape(index)[1:])

    def concatenate(self, operator: Any) -> None:
        """Converts a sequence of tensors along an axis, none of them a picture."""
        options = _options(operator, tflite.ConcatenationOptions())
        parts = [str(index) for index in operator.InputsAsNumpy()]
        self._node("Concat", parts, str(operator.Outputs(0)), axis=options.Axis())

    def dequantize(self, operator: Any) -> None:
        """Converts nothing: a weight in half precision is read where it is used."""

    def _convolve(self, operator: Any, options: Any, kernel: NDArray[Any], *, groups: int) -> None:
        _plain(options)
        if (options.DilationHFactor(), options.DilationWFactor()) != (1, 1):
            raise ValueError("a dilated convolution is not one that can be converted")
        source, target = str(operator.Inputs(0)), str(operator.Outputs(0))
        weight = self._weight(operator.Inputs(1), kernel)
        bias = self._weight(operator.Inputs(2), self._read(operator.Inputs(2)))
        self._node(
            "Conv",
            [source, weight, bias],
            target,
            group=groups,
            strides=(options.StrideH(), options.StrideW()),
            pads=self._pads(operator, options, kernel.shape[2:]),
        )

    def _pads(self, operator: Any, options: Any, window: Sequence[int]) -> list[int]:
        """Returns the zeros around a picture; an odd one goes below and to the right."""
        if options.Padding() == tflite.Padding.VALID:
            return [0, 0, 0, 0]
        _, *sides, _ = self._shape(operator.Inputs(0))
        strides = options.StrideH(), options.StrideW()
        totals = [
            max(0, (-(-side // stride) - 1) * stride + length - side)
            for side, stride, length in zip(sides, strides, window, strict=True)
        ]
        return [total // 2 for total in totals] + [total - total // 2 for total in totals]

    def _reshape(self, index: int, target: str, dims: Sequence[int | str]) -> None:
        source = str(index)
        if len(self._shape(index)) == PICTURE_RANK:
            self._node("Transpose", [source], f"{target}/turned", perm=CHANNELS_LAST)
            source = f"{target}/turned"
        # 0 leaves a length as it is: that of the batch.
        shape = self._constant(f"{target}/shape", np.array([0, *dims], np.int64))
        self._node("Reshape", [source, shape], target)

    def _shape(self, index: int) -> list[int]:
        return self.theirs.Tensors(index).ShapeAsNumpy().tolist()

    def _read(self, index: int) -> NDArray[Any]:
        """Returns a constant, or the one that it is widened from."""
        tensor = self.theirs.Tensors(index)
        data = self.model.Buffers(tensor.Buffer()).DataAsNumpy()
        if isinstance(data, int):
            (source,) = (
                operator.Inputs(0)
                for operator in map(self.theirs.Operators, range(self.theirs.OperatorsLength()))
                if operator.Outputs(0) == index
            )
            return self._read(source)
        return data.view(TYPES[tensor.Type()]).reshape(self._shape(index))

    def _constant(self, name: str, value: Any) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _weight(self, index: int, value: NDArray[Any]) -> str:
        half = self._constant(f"{index}/half", np.ascontiguousarray(value, np.float16))
        self._node("Cast", [half], f"{index}/weight", to=TensorProto.FLOAT)
        return f"{index}/weight"

    def _node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))


def _options(operator: Any, options: Any) -> Any:
    table = operator.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    return options


def _plain(options: Any) -> None:
    if options.FusedActivationFunction() != tflite.ActivationFunctionType.NONE:
        raise ValueError("a fused activation is not one that can be converted")


CONVERSIONS: Mapping[str, Callable[[_Graph, Any], None]] = {
    "ADD": _Graph.add,
    "CONCATENATION": _Graph.concatenate,
    "CONV_2D": _Graph.convolution,
    "DEPTHWISE_CONV_2D": _Graph.depthwise,
    "DEQUANTIZE": _Graph.dequantize,
    "MAX_POOL_2D": _Graph.pool,
    "PAD": _Graph.pad,
    "PRELU": _Graph.prelu,
    "RELU": _Graph.relu,
    "RESHAPE": _Graph.reshape,
}
