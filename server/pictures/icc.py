"""Colours of a profile (Display P3, Adobe RGB, a printer's inks) to sRGB, by Little CMS."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
"""Pixels that each kind of profile is about, which its header names."""
KIND = slice(16, 20)
ENDS = {"RGB": (255, 0), "L": (255, 0), "CMYK": (0, 255)}
"""What white and black are in them."""
STEPS = 9
"""Shades of each channel by which a profile is judged."""
SAME = 1
"""Profiles of sRGB differ by their rounding."""
MIN_WHITE, MAX_BLACK = 192, 96


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Converts a picture of mode L, RGB or CMYK to RGB.

    One without a profile, with that of sRGB, or with one that is broken, absurd or about another
    kind of pixels is taken as it is.
    """
    plain = image.convert("RGB")
    if profile is None:
        return plain
    mode = MODES.get(profile[KIND])
    # Grey pixels are colours too, of a profile about colours.
    pixels = plain if mode == "RGB" and image.mode == "L" else image
    if mode is None or pixels.mode != mode:
        return plain
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.createProfile("sRGB")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        transform = ImageCms.buildTransform(source, srgb, mode, "RGB")  # pyright: ignore[reportUnknownArgumentType]
        return transform.apply(pixels) if _changes(transform, mode) else plain
    except (ImageCms.PyCMSError, OSError):
        return plain


def _changes(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Tells whether a profile changes colours, and to something that a person can have meant."""
    ends = Image.new(mode, (2, 1))
    channels = len(ends.getbands())
    for x, level in enumerate(ENDS[mode]):
        ends.putpixel((x, 0), (level,) * channels)
    white, black = _array(transform.apply(ends))[0]
    if white.min() < MIN_WHITE or black.max() > MAX_BLACK:
        return False
    shades = np.rint(np.linspace(0, 255, STEPS)).astype(np.uint8)
    lattice = np.stack(np.meshgrid(*[shades] * channels), axis=-1).reshape(1, -1, channels)
    before = Image.frombytes(mode, (lattice.shape[1], 1), lattice.tobytes())
    changed = _array(transform.apply(before)) - _array(before.convert("RGB"))
    return int(np.abs(changed).max()) > SAME


def _array(image: Image.Image) -> NDArray[np.int16]:
    return np.asarray(image).astype(np.int16)
