"""Which weights become 16 bits wide, and which stay in 32.

What takes the memory are the matrices of linear layers, the convolutions of the VAE and umT5's
table of tokens. Norms, modulation, rotary embedding and the stream that every layer adds to stay in
float32: there a 16-bit value would overflow (float16) or lose what is added (bfloat16). Each layer
casts what it is given to its own type, so the contract of the networks is FP32 in every precision.

In int8 it is matrices and tables only, for CPUs; see export/int8.py.
"""

from typing import Literal

import torch
from torch import nn

from export.int8 import quantize_matrices
from export.transformer import LayerNorm, Linear

Precision = Literal["fp32", "fp16", "bf16", "int8"]

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "int8": torch.float32,
}
"""The types of what is computed with."""
IN_32_BITS = frozenset({"audio_encoder", "time_modulation", "denoiser_cached", "face_detector"})
"""Networks that stay in float32 whatever is asked: small ones; the authors run Wav2Vec2 so, too."""
OF_MATRICES = frozenset({"image_encoder", "text_encoder", "denoiser"})
"""Networks that int8 makes smaller."""


def precision_of(network: str, asked: Precision) -> Precision:
    """Returns the precision in which a network is exported."""
    if network in IN_32_BITS or (asked == "int8" and network not in OF_MATRICES):
        return "fp32"
    return asked


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
