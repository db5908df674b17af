"""Files of any format that is read to upright RGB pictures in sRGB."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image, ImageOps, UnidentifiedImageError

from server.pictures.depth import eight_bits
from server.pictures.formats import CONVERT, UnusablePictureError, readable_format, refusal
from server.pictures.icc import to_srgb
from server.pictures.jpeg import mended, missing_share
from server.pictures.png import decode_png, take_apart

CheckSize = Callable[[tuple[int, int]], None]
"""Called with width and height before anything is decoded; raises where they do not please."""

MAX_MISSING = 0.03
"""Share of a picture without which it is still taken: a stripe at the bottom."""
DNG_VERSION, SUBFILE_TYPE, REDUCED = 50706, 254, 1
"""Tags of TIFF files that are a camera's, and the value of the second for a thumbnail."""
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0
"""Tags of TIFF files that tell what greys mean, and the value of the second for negatives."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded file.

    Attributes:
        image: its pixels.
        profile: the ICC profile of its colours.
        missing: share of the pixels that a file which ends early lacks; None for a whole one.
    """

    image: Image.Image
    profile: bytes | None
    missing: float | None = None


def decode(data: bytes, check_size: CheckSize) -> Decoded:
    """Decodes the first picture in a file: upright, RGB, transparency on white, sRGB.

    Raises:
        UnusablePictureError: it is no picture, of another format, truncated or damaged.
    """
    name = readable_format(data)
    if name is None:
        raise UnusablePictureError(refusal(data))
    try:
        decoded = _decoded(data, name, check_size)
        return replace(decoded, image=_rgb(_upright(decoded.image), decoded.profile))
    except (UnusablePictureError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise
    except UnidentifiedImageError as error:
        raise UnusablePictureError(
            f"is a truncated or damaged {name} file, or of a rare kind; save it as JPEG or PNG"
        ) from error
    # Image libraries raise nearly anything on a crafted file, so nothing narrower is safe here.
    except Exception as error:
        raise UnusablePictureError(
            f"is a truncated or damaged {name} file; send it again, whole"
        ) from error


def _decoded(data: bytes, name: str, check_size: CheckSize) -> Decoded:
    match name:
        case "JPEG":
            return _jpeg(data, check_size)
        case "PNG":
            return _png(data, check_size)
        case "TIFF":
            return _tiff(data, check_size)
        case "HEIC":
            return _heic(data, check_size)
        case _:
            return _plain(data, name, check_size)


def _open(data: bytes, name: str, check_size: CheckSize) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=[name.upper()])
    check_size(image.size)
    return image


def _plain(data: bytes, name: str, check_size: CheckSize) -> Decoded:
    image = _open(data, name, check_size)
    return Decoded(eight_bits(image), image.info.get("icc_profile"))


def _jpeg(data: bytes, check_size: CheckSize) -> Decoded:
    whole = mended(data)
    if whole is None:
        return _plain(data, "JPEG", check_size)
    _open(whole, "JPEG", check_size)
    missing = missing_share(whole, MAX_MISSING)
    if missing > MAX_MISSING:
        raise UnusablePictureError("is a truncated JPEG file; send it whole")
    return replace(_plain(whole, "JPEG", check_size), missing=missing)


def _png(data: bytes, check_size: CheckSize) -> Decoded:
    png = take_apart(data)
    image = _open(png.pixels, "PNG", check_size)
    return Decoded(decode_png(image, png), png.profile, 0.0 if png.cut else None)


def _tiff(data: bytes, check_size: CheckSize) -> Decoded:
    image = _open(data, "TIFF", check_size)
    tags = image.getexif()
    # Of a camera's raw file the first picture is but a thumbnail.
    if DNG_VERSION in tags or tags.get(SUBFILE_TYPE, 0) & REDUCED:
        raise UnusablePictureError(f"is a camera's raw file; {CONVERT}")
    # The decoder applies neither to greys of more than 8 bits.
    negative = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    pixels = eight_bits(image, tags.get(BITS_PER_SAMPLE, 16), negative=negative)
    return Decoded(pixels, image.info.get("icc_profile"))


def _heic(data: bytes, check_size: CheckSize) -> Decoded:
    try:
        import pi_heif  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise UnusablePictureError(
            f"is a HEIC file, for which this server lacks the extra `heic`; {CONVERT}"
        ) from error
    file = pi_heif.open_heif(io.BytesIO(data))  # pyright: ignore[reportUnknownMemberType]
    check_size(file.size)
    image = file.to_pillow()
    return Decoded(image, image.info.get("icc_profile"))


def _upright(image: Image.Image) -> Image.Image:
    # Outside, since what is missing of the pixels does matter.
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    # A camera's notes may hold anything.
    except Exception:
        return image


def _rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if not image.has_transparency_data:
        colours = image if image.mode in ("L", "CMYK") else image.convert("RGB")
        return to_srgb(colours, profile)
    rgba = image.convert("RGBA")
    opaque = rgba.convert("L" if image.mode == "LA" else "RGB")
    colours = to_srgb(opaque, profile)
    colours.putalpha(rgba.getchannel("A"))
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, colours).convert("RGB")
