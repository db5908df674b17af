"""What inputs tell of a call's lengths."""

import numpy as np

from server.triton.contract import IMAGE_ENCODER, VAE_DECODER
from server.triton.lengths import lengths


def test_latents_tell_of_video() -> None:
    known = lengths(VAE_DECODER, {"latents": np.empty((1, 16, 9, 64, 96), np.float32)})
    assert (known["frames"], known["height"], known["width"]) == (33, 512, 768)


def test_widths_of_a_checkpoint_are_not_told() -> None:
    known = lengths(IMAGE_ENCODER, {"image": np.empty((1, 512, 768, 3), np.uint8)})
    assert (known["latent_height"], known["latent_width"]) == (64, 96)
    assert "image_width" not in known
