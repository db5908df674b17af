"""The Wan VAE of a checkpoint."""

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from export.checkpoint import layout
from export.checkpoint.layout import Checkpoint
from export.models.vae.chunks import in_chunks
from export.models.vae.coder import PUBLIC_SIZES, VaeDecoder, VaeEncoder, load_vae
from export.networks.exportable import Exportable, Inputs, Shape
from export.precision.narrowing import DTYPES
from export.precision.policy import Precision
from server.triton import contract


def vae_encoder(checkpoint: Checkpoint, precision: Precision = "fp32") -> Exportable:
    """The encoder of the Wan VAE."""

    def inputs(shape: Shape) -> Inputs:
        # As many as there are latent frames, so that the number varies with the shape.
        known = shape.frames
        pictures = (shape.batch, known, *shape.picture, 3)
        return {
            "known": torch.randint(256, pictures, dtype=torch.uint8),
            "grey": torch.zeros(shape.batch, shape.video_frames - known),
        }

    module = VaeEncoder(wan_vae(checkpoint, precision))
    return Exportable(contract.VAE_ENCODER, module, inputs, in_chunks(module))


def vae_decoder(checkpoint: Checkpoint, precision: Precision = "fp32") -> Exportable:
    """The decoder of the Wan VAE."""

    def inputs(shape: Shape) -> Inputs:
        return {"latents": torch.randn(shape.latents)}

    module = VaeDecoder(wan_vae(checkpoint, precision))
    return Exportable(contract.VAE_DECODER, module, inputs, in_chunks(module))


def wan_vae(checkpoint: Checkpoint, precision: Precision = "fp32") -> AutoencoderKLWan:
    """Both halves of the VAE, as their library has them."""
    with checkpoint.fitting(layout.VAE) as weights:
        narrow = {key: tensor.to(DTYPES[precision]) for key, tensor in weights.items()}
        return load_vae(narrow, checkpoint.sizes("vae_kwargs", PUBLIC_SIZES))
