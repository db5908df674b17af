"""16-bit tensors at the borders of a graph that computes in 16 bits."""

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from export.onnx.loop import rename
from server.triton.contract import Network


def halve_borders(model: ModelProto, network: Network) -> None:
    """Makes the tensors FP16 that the contract halves: cast as they come, and as they go.

    Their names stay those of the contract; to the graph within they have others.

    Args:
        model: changed in place.
        network: what it is.
    """
    graph = model.graph
    tensors = (*network.inputs, *network.outputs)
    names = {f"{tensor.name}/wide": tensor.name for tensor in tensors if tensor.halved}
    rename(graph, {name: wide for wide, name in names.items()})
    first: list[NodeProto] = []
    last: list[NodeProto] = []
    for value in graph.input:
        if name := names.get(value.name):
            first.append(_cast(name, value.name, TensorProto.FLOAT))
            _halve(value, name)
    for value in graph.output:
        if name := names.get(value.name):
            last.append(_cast(value.name, name, TensorProto.FLOAT16))
            _halve(value, name)
    nodes = [*first, *graph.node, *last]
    del graph.node[:]
    graph.node.extend(nodes)


def _halve(value: ValueInfoProto, name: str) -> None:
    value.name = name
    value.type.tensor_type.elem_type = TensorProto.FLOAT16


def _cast(source: str, target: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"halves/{source}", to=to)
