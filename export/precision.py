"""Which weights become 16 bits wide, and which stay in 32.

What takes the memory are the matrices of linear layers, the convolutions of the VAE and umT5's
table of tokens. Norms, modulation, rotary embedding and the stream that every layer adds to stay in
float32: there a 16-bit value would overflow (float16) or lose what is added (bfloat16). Each layer
casts what it is given to its own type, so the contract of the networks is FP32 in every precision.
"""

from typing import Literal

import torch
from torch import nn

from export.transformer import LayerNorm, Linear

Precision = Literal["fp32", "fp16", "bf16"]

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
IN_32_BITS = frozenset({"audio_encoder", "time_modulation", "denoiser_cached", "face_detector"})
"""Networks that stay in float32 whatever is asked: small ones; the authors run Wav2Vec2 so, too."""


def precision_of(network: str, asked: Precision) -> Precision:
    """Returns the precision in which a network is exported."""
    return "fp32" if network in IN_32_BITS else asked


def narrow_matrices(module: nn.Module, dtype: torch.dtype) -> None:
    """Narrows a library's linear layers and token tables in place; its norms compute in float32."""
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = Linear
            layer.to(dtype)
        elif type(layer) is nn.LayerNorm:
            layer.__class__ = LayerNorm
        elif isinstance(layer, nn.Embedding):
            layer.to(dtype)
