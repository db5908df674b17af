"""Norms that the exporter has made one operator of, mended for those who run them."""

from onnx import ModelProto, TensorProto, helper

IN_16_BITS = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def widen_norms(model: ModelProto) -> None:
    """Casts what 16-bit layers give to a norm in float32, as the module does.

    The exporter takes that cast for a part of RMSNormalization, whose result has the type of its
    weights by ONNX's own rules; ONNX Runtime and TensorRT give it the type of what is normalised.

    Args:
        model: changed in place.
    """
    graph = model.graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input)}
    nodes = []
    for node in graph.node:
        if node.op_type == "RMSNormalization" and types.get(node.input[0]) in IN_16_BITS:
            wide = f"{node.output[0]}/wide"
            nodes.append(helper.make_node("Cast", [node.input[0]], [wide], to=TensorProto.FLOAT))
            node.input[0] = wide
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
