"""Portrait files, good and bad."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from server.errors import InvalidFieldError
from server.pictures.portrait import crop_notices, cropped, decode_portrait

FIELD = "portrait.image"
MAX_PIXELS = 50_000_000


def decode(data: bytes) -> Image.Image:
    return decode_portrait(data, max_pixels=MAX_PIXELS, field=FIELD)


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """The first bytes of a PNG that says it is that large."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    length, check = struct.pack(">I", 13), struct.pack(">I", zlib.crc32(body))
    data = b"\x89PNG\r\n\x1a\n" + length + body + check
    text = b"IDAT" + zlib.compress(bytes(100))
    return data + struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_usual_files_are_decoded(kind: str) -> None:
    assert decode(file_of(Image.new("RGB", (80, 70), "red"), kind)).size == (80, 70)


@pytest.mark.parametrize("mode", ["L", "P", "LA", "CMYK", "I;16", "1"])
def test_unusual_colours_become_rgb(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert decode(file_of(Image.new(mode, (80, 80)), kind)).mode == "RGB"


BAD = {
    "empty": b"",
    "text": b"hello, I am no picture",
    "cut off": file_of(Image.effect_noise((200, 200), 50))[:5000],
    "one pixel": file_of(Image.new("RGB", (1, 1))),
    "30000 x 30000": png_header(30_000, 30_000),
    "over the limit": png_header(8_000, 8_000),
    "lying size": png_header(100, 100),
    "no width": png_header(0, 100),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_with_the_field_and_a_remedy(name: str) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        decode(BAD[name])
    assert caught.value.field == FIELD
    assert caught.value.problem


def test_a_portrait_is_turned_upright() -> None:
    image = Image.new("RGB", (100, 200), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(file_of(image, "JPEG", exif=exif)).size == (200, 100)


def test_transparency_is_put_on_white() -> None:
    decoded = decode(file_of(Image.new("RGBA", (80, 80), (255, 0, 0, 0))))
    assert decoded.getpixel((5, 5)) == (255, 255, 255)


def test_the_picture_is_cropped_around_its_centre() -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (100, 0, 200, 100))
    picture, _ = cropped(image, 64, 64)
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8
    # The resize looks a little over the edge of the crop.
    assert (picture[:, 4:-4] == (0, 0, 255)).all()


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((500, 2000), "75% of the portrait is cut off, above and below; send it cropped"),
        ((2000, 500), "75% of the portrait is cut off, at the sides; send it cropped"),
        ((1080, 1920), "44% of the portrait is cut off, above and below; send it cropped"),
        ((640, 960), None),
        ((768, 1024), None),
        ((512, 512), None),
    ],
)
def test_a_portrait_of_which_much_is_cut_off_is_said_to_be(
    size: tuple[int, int], words: str | None
) -> None:
    _, placement = cropped(Image.new("RGB", size), 512, 512)
    notices = crop_notices(size, placement)
    assert [notice.reason for notice in notices] == (["PORTRAIT_CROPPED"] if words else [])
    assert all((words or "") in notice.message for notice in notices)


def test_a_portrait_in_the_shape_of_the_output_is_not_cut() -> None:
    _, placement = cropped(Image.new("RGB", (500, 2000)), 128, 512)
    assert crop_notices((500, 2000), placement) == ()
