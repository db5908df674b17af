"""CLIP of a checkpoint."""

import torch

from export.checkpoint import layout
from export.checkpoint.layout import Checkpoint
from export.models.image_encoder import PUBLIC_SIZES, ImageEncoder, load_image_encoder
from export.networks.exportable import Exportable, Inputs, Shape
from export.precision.narrowing import in_float32, narrow_matrices
from export.precision.policy import Precision
from server.triton import contract


def image_encoder(checkpoint: Checkpoint, precision: Precision = "fp32") -> Exportable:
    """CLIP."""

    def inputs(shape: Shape) -> Inputs:
        return {"image": torch.randint(256, (shape.batch, *shape.picture, 3), dtype=torch.uint8)}

    with checkpoint.fitting(layout.IMAGE_ENCODER) as weights:
        sizes = checkpoint.sizes("image_encoder_kwargs", PUBLIC_SIZES)
        vision = load_image_encoder(in_float32(weights), sizes)
    narrow_matrices(vision, precision)
    return Exportable(contract.IMAGE_ENCODER, ImageEncoder(vision), inputs)
