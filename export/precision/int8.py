"""Matrices in 8 bits, for CPUs: half the room of 16 bits, and ONNX Runtime can run them.

Each output of a matrix, and each row of a table, has a scale of its own, the weights being rounded
to whole multiples of it; what is multiplied with them stays in float32. So nothing depends on data
to calibrate with, and what it costs is that a matrix is widened anew whenever it is used.

A matrix is ONNX Runtime's own operator, which says so at every node. Of DequantizeLinear and MatMul
newer versions make that operator, too, and round the other factor to 8 bits unless an option of the
session forbids it, which Triton's native backend does not pass on.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

LEVELS = 127
ZERO = 128
"""What stands for zero in the operator's unsigned weights."""
OPERATOR = "com.microsoft::MatMulNBits"
IN_FLOAT32 = 1
"""The operator's level of accuracy at which the other factor stays as it is."""
BLOCK_SIZES = range(16, 256 + 1)
"""How many inputs may share a scale: a power of two. All of an output have the same one here."""
MIN_ROWS = 300
"""A table with fewer rows takes no room worth saving: positions."""


class Int8Linear(nn.Module):
    """A linear layer whose weight is uint8 [out, blocks, block]; scales are float32 [out, blocks].

    Raises:
        ValueError: its inputs cannot be parted into blocks.
    """

    weight = None
    """Libraries cast what they give a layer to the type of its weight, if it has one."""
    levels: Tensor
    scale: Tensor
    bias: nn.Parameter | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        block = math.gcd(layer.in_features, BLOCK_SIZES[-1])
        if block not in BLOCK_SIZES:
            raise ValueError(f"{layer.in_features} inputs are no multiple of {BLOCK_SIZES[0]}")
        weight, scale = _quantize(layer.weight)
        blocks = (weight.to(torch.int16) + ZERO).to(torch.uint8).unflatten(1, (-1, block))
        self.register_buffer("levels", blocks)
        self.register_buffer("scale", scale[:, None].expand(blocks.shape[:2]).contiguous())
        bias = None if layer.bias is None else nn.Parameter(layer.bias.float(), requires_grad=False)
        self.register_parameter("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float32 [..., in] to [..., out]."""
        y = self._product(x.float())
        return y if self.bias is None else y + self.bias

    def _product(self, x: Tensor) -> Tensor:
        outputs, blocks, block = self.levels.shape
        if torch.onnx.is_in_onnx_export():
            return torch.onnx.ops.symbolic(
                OPERATOR,
                (x, self.levels, self.scale),
                attrs={
                    "K": blocks * block,
                    "N": outputs,
                    "bits": 8,
                    "block_size": block,
                    "accuracy_level": IN_FLOAT32,
                },
                dtype=x.dtype,
                shape=(*x.shape[:-1], outputs),
                version=1,
            )
        widened = (self.levels.float() - ZERO) * self.scale[..., None]
        return x @ widened.flatten(1).T


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
