"""Portrait files to pictures of the output size."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from server.errors import InvalidFieldError
from server.notices import Notice
from server.pictures.decoding import decode
from server.pictures.formats import UnusablePictureError
from server.triton.contract import SIDE_MULTIPLE, Variant

Picture = NDArray[np.uint8]

MIN_SIDE_PX = 64
"""Below this there is no face to animate."""
RECOMMENDED_SIDE_PX = 512
MAX_ASPECT = 8
CUT_WORTH_SAYING = 0.34
"""What a crop may take of the portrait in silence: a third, as of 2 : 3 to a square."""


@dataclass(frozen=True, slots=True)
class Portrait:
    """A decoded portrait, RGB in sRGB, and what could be better about its file."""

    image: Image.Image
    notices: tuple[Notice, ...]


def decode_portrait(data: bytes, *, max_pixels: int, field: str) -> Image.Image:
    """Decodes a portrait file, as `read_portrait`, for those who want the picture alone."""
    return read_portrait(data, max_pixels=max_pixels, field=field).image


def read_portrait(data: bytes, *, max_pixels: int, field: str) -> Portrait:
    """Decodes a portrait file: upright, RGB in sRGB, transparency on white.

    Raises:
        InvalidFieldError: no picture, too large or too small a one, or a broken file.
    """
    if not data:
        raise InvalidFieldError(field, "is empty; send a JPEG, PNG or WebP file")
    try:
        decoded = decode(data, lambda size: _check_size(size, max_pixels))
    except UnusablePictureError as error:
        raise InvalidFieldError(field, str(error)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidFieldError(field, f"is too large; send at most {max_pixels} pixels") from error
    return Portrait(decoded.image, _damage(decoded.missing))


def _damage(missing: float | None) -> tuple[Notice, ...]:
    if missing is None:
        return ()
    message = (
        f"the portrait's file ends early: {missing:.1%} of its pixels are missing; send it whole"
    )
    return (Notice("PORTRAIT_DAMAGED", message),)


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


def crop_notices(portrait_px: tuple[int, int], placement: Placement) -> tuple[Notice, ...]:
    """Returns that much of a portrait is not in the picture, if so; it may be the face."""
    width, height = (side * placement.scale for side in portrait_px)
    cut = 1 - placement.width * placement.height / (width * height)
    if cut <= CUT_WORTH_SAYING:
        return ()
    where = (
        "above and below" if height - placement.height > width - placement.width else "at the sides"
    )
    message = (
        f"{cut:.0%} of the portrait is cut off, {where}; send it cropped around the head to the "
        f"shape of {placement.width} x {placement.height}"
    )
    return (Notice("PORTRAIT_CROPPED", message),)


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


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise UnusablePictureError(
            f"has {width} x {height} pixels; send at most {max_pixels} pixels"
        )
    if min(width, height) < MIN_SIDE_PX:
        raise UnusablePictureError(
            f"has {width} x {height} pixels; send at least {MIN_SIDE_PX} x {MIN_SIDE_PX}, "
            f"better {RECOMMENDED_SIDE_PX} x {RECOMMENDED_SIDE_PX}"
        )
