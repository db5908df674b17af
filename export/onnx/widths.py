"""The dimensions of an ONNX file by their names in the contract."""

from collections.abc import Iterator, Mapping

import onnx
from onnx import ModelProto

from server.triton.contract import Dim, Network

PUBLIC_WIDTHS: Mapping[str, int] = {
    "audio_width": 768,
    "denoiser_width": 1536,
    "image_width": 1280,
    "text_width": 4096,
}
"""The widths of the public checkpoints."""


def widths(model: ModelProto, network: Network) -> dict[str, int]:
    """Returns the dimensions that the checkpoint fixes, though the contract does not."""
    return {
        dim: axis.dim_value
        for axis, dim in dimensions(model, network)
        if isinstance(dim, str) and dim in PUBLIC_WIDTHS
    }


def dimensions(
    model: ModelProto, network: Network
) -> Iterator[tuple[onnx.TensorShapeProto.Dimension, Dim]]:
    """Yields every dimension of the graph's inputs and outputs with its name in the contract."""
    values = [*model.graph.input, *model.graph.output]
    for value, tensor in zip(values, (*network.inputs, *network.outputs), strict=True):
        axes = value.type.tensor_type.shape.dim
        yield from zip(axes, ("batch", *tensor.dims), strict=True)
