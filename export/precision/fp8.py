"""Matrices of the denoiser's blocks in 8-bit floats, for GPUs that multiply them: Ada and later.

Both factors are rounded to E4M3 (https://arxiv.org/abs/2209.05433), as TensorRT wants it spelled:
QuantizeLinear and DequantizeLinear around a product in 16 bits, which its builder joins. What a
layer is given has one scale, measured beforehand; its weight has one for each output, or one.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from export.precision.policy import Fp8Scale

E4M3 = torch.float8_e4m3fn
LARGEST = torch.finfo(E4M3).max
IN_FP8 = "blocks."
"""How the names of the layers begin: time, text, image, audio and head stay in 16 bits."""

UNSEEN: Mapping[str, float] = MappingProxyType({})
"""What is known of the layers' inputs, where nothing was measured."""


class Fp8Linear(nn.Module):
    """A linear layer whose weight is E4M3 [in, out]; scales, [out] or [], and bias are float16."""

    weight: Tensor
    scale: Tensor
    input_scale: Tensor
    zero: Tensor
    bias: nn.Parameter | None

    def __init__(self, layer: nn.Linear, largest_input: float, each: Fp8Scale = "channel") -> None:
        """Rounds a layer.

        Args:
            layer: which.
            largest_input: the largest absolute value that it was seen to be given.
            each: what of the weight has a scale of its own.
        """
        super().__init__()
        weight = layer.weight.detach().float().T
        largest = weight.abs().amax(dim=0)
        scale = _scale(largest if each == "channel" else largest.max())
        self.register_buffer("weight", _round(weight / scale.float()).contiguous())
        self.register_buffer("scale", scale)
        self.register_buffer("input_scale", _scale(torch.tensor(largest_input)))
        self.register_buffer("zero", torch.zeros((), dtype=E4M3))
        bias = None if layer.bias is None else nn.Parameter(layer.bias.half(), requires_grad=False)
        self.register_parameter("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., in] to [..., out], of the scales' type."""
        x = x.to(self.scale.dtype)
        if torch.onnx.is_in_onnx_export():
            x, weight = self._nodes(x)
        else:
            x = _round(x / self.input_scale).to(x.dtype) * self.input_scale
            weight = self.weight.to(x.dtype) * self.scale
        y = x @ weight
        return y if self.bias is None else y + self.bias

    def _nodes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both factors as ONNX rounds them."""
        op, dtype = torch.onnx.ops.symbolic, x.dtype
        scale = self.input_scale
        narrow = op("QuantizeLinear", (x, scale, self.zero), dtype=E4M3, shape=x.shape)
        rounded = op("DequantizeLinear", (narrow, scale), dtype=dtype, shape=x.shape)
        factors = (self.weight, self.scale)
        shape = self.weight.shape
        # The axis of the outputs; what has one scale has no use for it.
        weight = op("DequantizeLinear", factors, attrs={"axis": 1}, dtype=dtype, shape=shape)
        return rounded, weight


def layers_in_fp8(denoiser: nn.Module) -> dict[str, nn.Linear]:
    """Returns the layers that become 8 bits wide where they are used, by name."""
    return {
        name: layer
        for name, layer in denoiser.named_modules()
        if isinstance(layer, nn.Linear) and name.startswith(IN_FP8)
    }


def quantize_blocks(
    denoiser: nn.Module, largest_inputs: Mapping[str, float], each: Fp8Scale = "channel"
) -> None:
    """Replaces the layers of the blocks in place, one by one.

    Args:
        denoiser: in float16.
        largest_inputs: by the names of the layers; see `export.precision.calibration`. A layer
            that was given nothing is of no use to the variant and stays.
        each: what of a weight has a scale of its own.
    """
    if not largest_inputs:
        raise ValueError("fp8 needs what the layers were given, to scale it")
    for name, layer in layers_in_fp8(denoiser).items():
        if name in largest_inputs:
            denoiser.set_submodule(name, Fp8Linear(layer, largest_inputs[name], each))


def _scale(largest: Tensor) -> Tensor:
    """Returns float16 that takes the largest value to the largest of E4M3."""
    return (largest / LARGEST).clamp_min(torch.finfo(torch.float16).tiny).half()


def _round(x: Tensor) -> Tensor:
    # torch turns what is too large into NaN, ONNX into the largest.
    return x.clamp(-LARGEST, LARGEST).to(E4M3)
