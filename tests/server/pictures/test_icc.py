"""ICC profiles, against colours computed from their numbers."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from server.pictures.portrait import decode_portrait
from tests.support.icc_profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    PROPHOTO,
    SRGB_TO_D50,
    MatrixProfile,
    grey_in_srgb,
    grey_profile,
    ink_combinations,
    ink_profile,
)

SPACES = {"Display P3": DISPLAY_P3, "Adobe RGB": ADOBE_RGB, "ProPhoto": PROPHOTO}
KINDS = ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def decode(image: Image.Image, profile: bytes, kind: str = "PNG") -> np.ndarray:
    file = io.BytesIO()
    image.save(file, kind, icc_profile=profile, **({} if kind == "TIFF" else {"quality": 100}))
    return np.asarray(decode_portrait(file.getvalue(), max_pixels=10**7, field="image"))


def colours() -> np.ndarray:
    """All hues and shades in squares of 8 pixels, so that no encoder blurs them together."""
    shades = np.linspace(0, 255, 7).astype(np.uint8)
    lattice = np.stack(np.meshgrid(shades, shades, shades), axis=-1).reshape(49, 7, 3)
    return lattice.repeat(8, axis=0).repeat(16, axis=1)


@pytest.mark.parametrize("name", SPACES)
def test_colours_of_a_profile_become_those_of_srgb(name: str) -> None:
    space = SPACES[name]
    decoded = decode(Image.fromarray(colours()), space.file())
    assert np.abs(decoded - space.in_srgb(colours())).max() < 2
    # It is no small matter.
    assert np.abs(colours() - space.in_srgb(colours())).max() > 20


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_has_its_profile_read(kind: str) -> None:
    plain = np.full((64, 64, 3), (200, 120, 90), np.uint8)
    decoded = decode(Image.fromarray(plain), PROPHOTO.file(), kind)
    # The formats that lose something are two levels off, at full quality; without it, 30.
    assert np.abs(decoded - PROPHOTO.in_srgb(plain)).max() < 5


def test_transparency_stays_and_lies_on_white_of_srgb() -> None:
    picture = np.dstack([colours(), np.full(colours().shape[:2], 255, np.uint8)])
    picture[:100, :, 3], picture[100:200, :, 3] = 0, 128
    decoded = decode(Image.fromarray(picture), PROPHOTO.file())
    alpha = picture[..., 3:] / 255
    meant = PROPHOTO.in_srgb(colours()) * alpha + 255 * (1 - alpha)
    assert np.abs(decoded - meant).max() < 2


def test_palettes_are_converted() -> None:
    palette = Image.fromarray(colours()).quantize(64)
    meant = PROPHOTO.in_srgb(np.asarray(palette.convert("RGB")))
    assert np.abs(decode(palette, PROPHOTO.file()) - meant).max() < 2


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "L"), ("PNG", "LA"), ("JPEG", "L"), ("TIFF", "L"), ("TIFF", "LA")]
)
def test_greys_of_a_profile_become_those_of_srgb(kind: str, mode: str) -> None:
    ramp = np.arange(256, dtype=np.uint8).repeat(64).reshape(-1, 64)
    image = Image.fromarray(ramp).convert(mode)
    decoded = decode(image, grey_profile(1.0), kind)
    meant = grey_in_srgb(ramp, 1.0)[..., None]
    # Where a slope is steep, a level of the file is more than one of the picture.
    assert np.abs(decoded - meant)[20:].max() < 4


def test_greys_are_converted_by_a_profile_of_colours_too() -> None:
    ramp = np.arange(256, dtype=np.uint8).repeat(64).reshape(-1, 64)
    decoded = decode(Image.fromarray(ramp), PROPHOTO.file())
    assert np.abs(decoded - PROPHOTO.in_srgb(ramp[..., None].repeat(3, axis=-1))).max() < 2


DYES = np.array([(0.9, 0.2, 0.1), (0.1, 0.8, 0.3), (0.05, 0.1, 0.85), (1, 1, 1)])
"""What cyan, magenta, yellow and black take of red, green and blue."""
INKS = ink_combinations()
PRINTED = np.rint([255 * np.prod(1 - DYES * (ink[:, None] > 0), axis=0) for ink in INKS])
PRINTER = ink_profile(PRINTED.astype(np.uint8))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_inks_become_the_colours_that_they_print(kind: str) -> None:
    inks = INKS.reshape(4, 4, 4).repeat(16, axis=0).repeat(16, axis=1)
    decoded = decode(Image.frombytes("CMYK", (64, 64), inks.tobytes()), PRINTER, kind)
    assert np.abs(decoded[8::16, 8::16].reshape(16, 3) - PRINTED).max() < 4


def rows(matrix: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    return tuple((float(x), float(y), float(z)) for x, y, z in matrix)


UNTOUCHED = {
    "sRGB": SRGB,
    "nothing": b"",
    "garbage": b"this is no profile" * 50,
    "cut off": PROPHOTO.file()[:200],
    "only a head": PROPHOTO.file()[:128],
    "zeros": bytes(2_000),
    "all black": MatrixProfile(rows(np.zeros((3, 3))), 1.8).file(),
    "white is black": MatrixProfile(rows(-SRGB_TO_D50), 1.8).file(),
    "of greys": grey_profile(1.8),
    "of inks": PRINTER,
    "no curve": PROPHOTO.file().replace(b"gTRC", b"none"),
    "of another kind": PROPHOTO.file().replace(b"mntr", b"link"),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_with_srgb_or_with_no_usable_profile_pixels_stay_as_they_are(name: str) -> None:
    assert (decode(Image.fromarray(colours()), UNTOUCHED[name]) == colours()).all()
