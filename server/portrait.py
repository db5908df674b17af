"""Portrait files to pictures of the output size."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from server.errors import InvalidFieldError

Picture = NDArray[np.uint8]

MIN_SIDE_PX = 64
"""Below this there is no face to animate."""
RECOMMENDED_SIDE_PX = 512
FORMATS = ("JPEG", "PNG", "WEBP")


def decode_portrait(data: bytes, *, max_pixels: int, field: str) -> Image.Image:
    """Decodes a portrait file: upright, RGB, transparency on white.

    Raises:
        InvalidFieldError: no picture, too large or too small a one, or a broken file.
    """
    if not data:
        raise InvalidFieldError(field, "is empty; send a JPEG, PNG or WebP file")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image, max_pixels, field)
            upright = ImageOps.exif_transpose(image)
            return _on_white(upright)
    except InvalidFieldError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidFieldError(field, f"is too large; send at most {max_pixels} pixels") from error
    # Image libraries raise nearly anything on a crafted file, so nothing narrower is safe here.
    except Exception as error:
        raise InvalidFieldError(field, "is no readable JPEG, PNG or WebP file") from error


def fit(image: Image.Image, width: int, height: int) -> Picture:
    """Crops around the centre to the shape of the output and resizes; [height, width, 3]."""
    return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS))


def _check_size(image: Image.Image, max_pixels: int, field: str) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise InvalidFieldError(
            field, f"has {width} x {height} pixels; send at most {max_pixels} pixels"
        )
    if min(width, height) < MIN_SIDE_PX:
        raise InvalidFieldError(
            field,
            f"has {width} x {height} pixels; send at least {MIN_SIDE_PX} x {MIN_SIDE_PX}, "
            f"better {RECOMMENDED_SIDE_PX} x {RECOMMENDED_SIDE_PX}",
        )


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
