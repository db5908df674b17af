"""Which weights become 16 bits wide, and which stay in 32.

What takes the memory are the matrices of linear layers, the convolutions of the VAE and umT5's
table of tokens. Norms, modulation, rotary embedding and the stream that every layer adds to stay in
float32: there a 16-bit value would overflow (float16) or lose what is added (bfloat16). Each layer
casts what it is given to its own type. What such a network would round all the same comes and goes
in 16 bits, as server/triton/contract.py says of each tensor.

In int8 it is matrices and tables only, for CPUs; see export/precision/int8.py. In fp8 it is the
blocks of the denoiser, for GPUs, the others being 16 bits wide; see export/precision/fp8.py.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from server.triton.contract import OF_NO_CHECKPOINT

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
Fp8Scale = Literal["channel", "tensor"]
"""What of a weight in fp8 has a scale of its own: each output, or all of it."""

AS_ASKED: Mapping[str, Precision] = MappingProxyType({})
"""Nothing else is asked of any network."""
IN_32_BITS = OF_NO_CHECKPOINT | {"audio_encoder", "time_modulation", "denoiser_cached"}
"""Networks that stay in float32 whatever is asked: small ones; the authors run Wav2Vec2 so, too."""
OF_MATRICES = frozenset({"image_encoder", "text_encoder", "denoiser"})
"""Networks that int8 makes smaller."""


def precision_of(
    network: str, asked: Precision, others: Mapping[str, Precision] = AS_ASKED
) -> Precision:
    """Returns the precision in which a network is exported.

    Args:
        network: its name.
        asked: of the large weights of all networks.
        others: what is asked of single networks instead.
    """
    if network in others:
        return others[network]
    if network in IN_32_BITS or (asked == "int8" and network not in OF_MATRICES):
        return "fp32"
    if asked == "fp8" and network != "denoiser":
        # umT5 is known to overflow in fp16.
        return "bf16" if network == "text_encoder" else "fp16"
    return asked
