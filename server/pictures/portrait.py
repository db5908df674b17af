"""Portrait files to pictures of the output size."""

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from server.errors import InvalidFieldError
from server.triton.contract import SIDE_MULTIPLE, Variant

Picture = NDArray[np.uint8]

MIN_SIDE_PX = 64
"""Below this there is no face to animate."""
RECOMMENDED_SIDE_PX = 512
MAX_ASPECT = 8
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


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a portrait comes to lie in the output, whose sides are in pixels.

    A point of the portrait lies at ``scale`` times its place, less ``left`` and ``top``.
    """

    width: int
    height: int
    scale: float
    left: float = 0.0
    top: float = 0.0

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Returns where a point of the portrait lies."""
        return x * self.scale - self.left, y * self.scale - self.top


def cropped(image: Image.Image, width: int, height: int) -> tuple[Picture, Placement]:
    """Crops around the centre to the shape of the output and resizes; [height, width, 3]."""
    scale = max(width / image.width, height / image.height)
    placement = Placement(
        width,
        height,
        scale,
        left=(image.width * scale - width) / 2,
        top=(image.height * scale - height) / 2,
    )
    return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)), placement


def whole(
    image: Image.Image, size: tuple[int, int], variant: Variant, *, field: str
) -> tuple[Picture, Placement]:
    """Resizes the whole portrait by the authors' rule; [height, width, 3].

    Sides are shrunk together where their area is larger than that of ``size``, then each is rounded
    down to whole tokens, which bends the picture a little. The two programs divide in another
    order, which decides about the rounding of some.

    Raises:
        InvalidFieldError: one side is much longer than the other, or gets shorter than a token.
    """
    area = image.width * image.height
    width, height = size
    ratio = area / width / height if variant == "flash" else area / (width * height)
    shrink = math.sqrt(max(1.0, ratio))
    width, height = (int(side / shrink // SIDE_MULTIPLE) * SIDE_MULTIPLE for side in image.size)
    if min(width, height) * MAX_ASPECT < max(width, height):
        raise InvalidFieldError(
            field,
            f"has {image.width} x {image.height} pixels; crop it to a shape of at most "
            f"{MAX_ASPECT} : 1",
        )
    picture = image.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(picture), Placement(width, height, math.sqrt(width * height / area))


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
