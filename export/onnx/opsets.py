"""Which ONNX opset each network's file has.

20 is loaded by every container of `export.planning.containers`. 22 has convolutions in bf16, which
ONNX Runtime's CUDA provider has from there on. 23 has attention, rotary embedding and
root-mean-square norms as single operators: in fp16 and fp8 TensorRT makes fewer layers of those,
and runs them in less memory or about the same; in fp32 and bf16 it does not build them
(docs/opsets.md).
"""

from typing import Literal

from export.precision.policy import Precision

Opset = Literal[20, 22, 23]

OLDEST: Opset = 20
BF16_CONVOLUTIONS: Opset = 22
SINGLE_OPERATORS: Opset = 23
NEWEST = SINGLE_OPERATORS
WITH_CONVOLUTIONS = ("vae_encoder", "vae_decoder", "vae_decoder_light")


def opset_of(network: str, precision: Precision, newest: Opset = NEWEST) -> Opset:
    """Returns the opset of a network's file.

    Args:
        network: its name.
        precision: of its large weights.
        newest: that may be used.
    """
    wanted = OLDEST
    if network == "denoiser" and precision in ("fp16", "fp8"):
        wanted = SINGLE_OPERATORS
    elif network in WITH_CONVOLUTIONS and precision == "bf16":
        wanted = BF16_CONVOLUTIONS
    return wanted if wanted <= newest else OLDEST
