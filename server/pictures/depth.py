"""Pixels of any depth to 8 bits a channel."""

import numpy as np
from PIL import Image

from server.pictures.formats import UnusablePictureError

SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
WIDE = {"I": "32-bit integer", "F": "floating-point", "LAB": "LAB"}
"""Pixels whose white and black a file does not tell."""


def eight_bits(image: Image.Image) -> Image.Image:
    """Returns pixels of 8 bits a channel, the upper ones of 16 as for colours.

    Raises:
        UnusablePictureError: what white is in such pixels is not known.
    """
    if image.mode in WIDE:
        raise UnusablePictureError(
            f"has {WIDE[image.mode]} pixels; save it with 8 or 16 bits a channel, as RGB"
        )
    if image.mode not in SIXTEEN_BITS:
        return image
    shifted = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    shifted.info = image.info
    return shifted
