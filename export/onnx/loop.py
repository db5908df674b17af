"""A network that goes through its input in chunks, as one ONNX graph with a Loop.

torch's exporter writes no loops over a length that varies. So the parts are traced each by itself
and joined here: opening, a Loop whose body is the step, closing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import onnx
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    compose,
    helper,
    numpy_helper,
)
from torch import nn

AXIS = 1
"""Along which frames follow each other."""


@dataclass(frozen=True, slots=True)
class Loop:
    """The parts of a loop.

    Attributes:
        opening: the inputs to (output of the first chunk, frames of the others, states ...).
        step: (frames of one chunk, states ...) to (output of the chunk, states ...); a state keeps
            its shape from chunk to chunk.
        closing: the outputs of all chunks, one after the other along axis 1, to the output.
        chunk: how many of the frames, which are axis 1, a step takes.
    """

    opening: nn.Module
    step: nn.Module
    closing: nn.Module
    chunk: int


def join(opening: ModelProto, step: ModelProto, closing: ModelProto, chunk: int) -> ModelProto:
    """Returns one model of the graphs of a `Loop`'s parts. Weights of the same values are shared.

    Inputs keep the names they have in the opening, and outputs those in the closing.
    """
    input_names = [value.name for value in opening.graph.input]
    output_names = [value.name for value in closing.graph.output]
    for prefix, model in (("opening/", opening), ("step/", step), ("closing/", closing)):
        del model.graph.value_info[:]
        compose.add_prefix(model, prefix, inplace=True)
    weights = _shared_weights([opening.graph, step.graph, closing.graph])
    first, frames, *states = (value.name for value in opening.graph.output)
    graph = helper.make_graph(
        [
            *opening.graph.node,
            *_loop(step.graph, frames, states),
            *_one_after_the_other(first, closing.graph.input[0]),
            *closing.graph.node,
        ],
        "loop",
        list(opening.graph.input),
        list(closing.graph.output),
        [*weights, *_constants(chunk)],
    )
    rename(graph, {f"opening/{name}": name for name in input_names})
    rename(graph, {f"closing/{name}": name for name in output_names})
    joined = helper.make_model(
        graph, opset_imports=opening.opset_import, ir_version=opening.ir_version
    )
    onnx.checker.check_model(joined)
    return joined


def _loop(step: GraphProto, frames: str, states: list[str]) -> list[NodeProto]:
    """Returns the nodes that run the step for every chunk and stack its outputs [chunks, ...]."""
    chunk, *before = step.input
    output, *after = step.output
    take = [
        helper.make_node("Mul", ["loop/index", "loop/chunk"], ["loop/start"]),
        helper.make_node("Add", ["loop/start", "loop/within"], ["loop/rows"]),
        # A Gather of rows, whose number is known, where that of a Slice would be computed.
        helper.make_node("Gather", [frames, "loop/rows"], [chunk.name], axis=AXIS),
        helper.make_node("Identity", ["loop/go_on"], ["loop/goes_on"]),
    ]
    index = helper.make_tensor_value_info("loop/index", TensorProto.INT64, [])
    go_on, goes_on = (
        helper.make_tensor_value_info(name, TensorProto.BOOL, [])
        for name in ("loop/go_on", "loop/goes_on")
    )
    body = helper.make_graph(
        [*take, *step.node], "chunk", [index, go_on, *before], [goes_on, *after, output]
    )
    ends = [f"loop/last/{value.name}" for value in before]
    return [
        helper.make_node("Shape", [frames], ["loop/length"], start=AXIS, end=AXIS + 1),
        helper.make_node("Div", ["loop/length", "loop/chunk"], ["loop/count"]),
        helper.make_node("Squeeze", ["loop/count"], ["loop/chunks"]),
        helper.make_node(
            "Loop", ["loop/chunks", "loop/true", *states], [*ends, "loop/stacked"], body=body
        ),
    ]


def _one_after_the_other(first: str, whole: ValueInfoProto) -> list[NodeProto]:
    """Returns the nodes that put the stacked outputs behind that of the first chunk.

    All lengths but that of the axis are those of the first: without further chunks there are none.
    """
    rank = len(whole.type.tensor_type.shape.dim)
    return [
        helper.make_node("Shape", [first], ["loop/outer"], start=0, end=AXIS),
        helper.make_node("Shape", [first], ["loop/inner"], start=AXIS + 1, end=rank),
        helper.make_node(
            "Concat", ["loop/outer", "loop/any", "loop/inner"], ["loop/shape"], axis=0
        ),
        helper.make_node(
            "Transpose", ["loop/stacked"], ["loop/by_batch"], perm=[1, 0, *range(2, rank + 1)]
        ),
        helper.make_node("Reshape", ["loop/by_batch", "loop/shape"], ["loop/later"]),
        helper.make_node("Concat", [first, "loop/later"], [whole.name], axis=AXIS),
    ]


def _constants(chunk: int) -> list[TensorProto]:
    return [
        helper.make_tensor("loop/true", TensorProto.BOOL, [], [True]),
        helper.make_tensor("loop/chunk", TensorProto.INT64, [1], [chunk]),
        helper.make_tensor("loop/within", TensorProto.INT64, [chunk], list(range(chunk))),
        helper.make_tensor("loop/any", TensorProto.INT64, [1], [-1]),
    ]


def _shared_weights(graphs: Iterable[GraphProto]) -> list[TensorProto]:
    """Takes the weights out of graphs, each value once, and has the nodes use those."""
    names: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    weights: list[TensorProto] = []
    for graph in graphs:
        renamed: dict[str, str] = {}
        for weight in graph.initializer:
            array = numpy_helper.to_array(weight)
            value = (weight.data_type, tuple(weight.dims), array.tobytes())
            if value not in names:
                names[value] = weight.name
                weights.append(weight)
            renamed[weight.name] = names[value]
        rename(graph, renamed)
    return weights


def rename(graph: GraphProto, names: dict[str, str]) -> None:
    """Gives values other names, wherever a graph has them but within the bodies of its loops."""
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
