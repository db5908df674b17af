"""Matrices in 8 bits, for CPUs: half the room of 16 bits, and ONNX Runtime can run them.

Each output of a matrix, and each row of a table, has a scale of its own, the weights being rounded
to whole multiples of it; what is multiplied with them stays in float32. So nothing depends on data
to calibrate with, and what it costs is that a matrix is widened anew whenever it is used.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LEVELS = 127
EXACT_INT8 = ("session.qdq_matmulnbits_accuracy_level", "1")
"""Has ONNX Runtime multiply 8-bit weights in float32; else it rounds the other factor, too."""
MIN_ROWS = 300
"""A table with fewer rows takes no room worth saving: positions."""


class Int8Linear(nn.Module):
    """A linear layer whose weight is int8 [in, out] and whose scale is float32 [out]."""

    weight: Tensor
    scale: Tensor
    bias: nn.Parameter | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight, scale = _quantize(layer.weight)
        self.register_buffer("weight", weight.T.contiguous())
        self.register_buffer("scale", scale)
        bias = None if layer.bias is None else nn.Parameter(layer.bias.float(), requires_grad=False)
        self.register_parameter("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float32 [..., in] to [..., out]."""
        y = x.float() @ _widen(self.weight, self.scale)
        return y if self.bias is None else y + self.bias


class Int8Embedding(nn.Module):
    """A table of tokens whose rows are int8, each with a scale."""

    weight: Tensor
    scale: Tensor

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        weight, scale = _quantize(table.weight)
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)

    def forward(self, ids: Tensor) -> Tensor:
        """Maps int64 [...] to float32 [..., C]."""
        return self.weight[ids].float() * self.scale[ids].unsqueeze(-1)


def quantize_matrices(module: nn.Module, keep: Sequence[str] = ()) -> None:
    """Replaces linear layers and tables in place, one by one.

    Args:
        module: whose floats are all float32 afterwards.
        keep: parts of the names of layers that stay as they are.
    """
    replaced: dict[nn.Module, nn.Module] = {}
    # A table may be there under two names.
    for name, layer in list(module.named_modules(remove_duplicate=False)):
        if any(part in f"{name}." for part in keep):
            continue
        if layer not in replaced:
            if isinstance(layer, nn.Linear):
                replaced[layer] = Int8Linear(layer)
            elif isinstance(layer, nn.Embedding) and layer.num_embeddings >= MIN_ROWS:
                replaced[layer] = Int8Embedding(layer)
            else:
                continue
        module.set_submodule(name, replaced[layer])
    module.float()


def _quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Returns int8 of the same shape and a scale for each row."""
    weight = weight.detach().float()
    scale = weight.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / LEVELS
    return (weight / scale[:, None]).round().to(torch.int8), scale


def _widen(weight: Tensor, scale: Tensor) -> Tensor:
    """Returns float32 [in, out].

    ONNX Runtime computes constants once and keeps them, but leaves DequantizeLinear for later.
    """
    if torch.onnx.is_in_onnx_export():
        return torch.onnx.ops.symbolic(
            "DequantizeLinear",
            (weight, scale),
            attrs={"axis": 1},
            dtype=torch.float32,
            shape=weight.shape,
        )
    return weight.float() * scale
