"""Pixels of any depth to 8 bits a channel."""

import numpy as np
from PIL import Image

from server.pictures.formats import UnusablePictureError

SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
WIDE = {"I": "32-bit integer", "F": "floating-point", "LAB": "LAB"}
"""Pixels whose white and black a file does not tell."""


def eight_bits(image: Image.Image, bits: int = 16, *, negative: bool = False) -> Image.Image:
    """Returns pixels of 8 bits a channel, the upper ones of more as for colours.

    Args:
        image: opened, or decoded already.
        bits: how many of the 16 of deep greys are used.
        negative: whether white is zero in deep greys.

    Raises:
        UnusablePictureError: what white is in such pixels is not known.
    """
    if image.mode in WIDE:
        raise UnusablePictureError(
            f"has {WIDE[image.mode]} pixels; save it with 8 or 16 bits a channel, as RGB"
        )
    if image.mode not in SIXTEEN_BITS:
        return image
    upper = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    shifted = Image.fromarray(255 - upper if negative else upper)
    shifted.info = image.info
    return shifted
