"""umT5 of a checkpoint."""

import torch

from export.checkpoint import layout
from export.checkpoint.layout import Checkpoint
from export.models.text_encoder import PUBLIC_SIZES, TextEncoder, load_text_encoder
from export.networks.exportable import Exportable, Inputs, Shape
from export.precision.narrowing import matrices_in, narrow_matrices
from export.precision.policy import Precision
from server.triton import contract


def text_encoder(checkpoint: Checkpoint, precision: Precision = "fp32") -> Exportable:
    """umT5."""
    sizes = checkpoint.sizes("text_encoder_kwargs", PUBLIC_SIZES)

    def inputs(shape: Shape) -> Inputs:
        tokens = (shape.batch, contract.TEXT_TOKENS)
        lengths = torch.randint(1, contract.TEXT_TOKENS + 1, (shape.batch, 1))
        return {
            "token_ids": torch.randint(sizes["vocab"], tokens),
            "mask": (torch.arange(contract.TEXT_TOKENS) < lengths).long(),
        }

    with checkpoint.fitting(layout.TEXT_ENCODER) as weights:
        umt5 = load_text_encoder(matrices_in(weights, precision), sizes)
    narrow_matrices(umt5, precision)
    return Exportable(contract.TEXT_ENCODER, TextEncoder(umt5), inputs)
