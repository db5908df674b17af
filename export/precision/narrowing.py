"""Weights in the types that a precision means."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from export.models.layers import LayerNorm, Linear
from export.precision.int8 import quantize_matrices
from export.precision.policy import Precision

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "int8": torch.float32,
    "fp8": torch.float16,
}
"""The types of what is computed with."""


def in_float32(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns all tensors in float32."""
    return {key: tensor.float() for key, tensor in weights.items()}


def matrices_in(weights: Mapping[str, Tensor], precision: Precision) -> dict[str, Tensor]:
    """Narrows matrices one by one, vectors going to float32: umT5 as a whole has 23 GB in float32.

    What becomes int8 is left as it is until then.
    """
    if precision == "int8":
        return {key: t if t.ndim > 1 else t.float() for key, t in weights.items()}
    return {
        key: tensor.to(DTYPES[precision] if tensor.ndim > 1 else torch.float32)
        for key, tensor in weights.items()
    }


def narrow_matrices(module: nn.Module, precision: Precision) -> None:
    """Narrows a library's linear layers and token tables in place; its norms compute in float32."""
    if precision == "int8":
        quantize_matrices(module)
        return
    dtype = DTYPES[precision]
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = Linear
            layer.to(dtype)
        elif type(layer) is nn.LayerNorm:
            layer.__class__ = LayerNorm
        elif isinstance(layer, nn.Embedding):
            layer.to(dtype)
