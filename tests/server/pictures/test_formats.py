"""Formats of files: those that are read, and those that are named."""

import base64
import io
import sys
import threading
from collections.abc import Callable

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from server.errors import InvalidFieldError
from server.pictures.portrait import decode_portrait, read_portrait
from tests.support.tiff_files import BLACK_IS_ZERO, WHITE_IS_ZERO, grey_tiff

SIZE = (96, 80)
LOSSLESS = ["PNG", "GIF", "BMP", "TIFF"]
KINDS = [*LOSSLESS, "JPEG", "WEBP", "AVIF", "HEIC"]


def decode(data: bytes) -> np.ndarray:
    return np.asarray(decode_portrait(data, max_pixels=10**7, field="portrait.image"))


def halves() -> Image.Image:
    image = Image.new("RGB", SIZE, (200, 60, 40))
    image.paste((30, 90, 160), (0, 0, SIZE[0], SIZE[1] // 2))
    return image


def file_of(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    if kind == "HEIC":
        pillow_heif.from_pillow(image).save(file, quality=95)
    else:
        image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_formats_of_telephones_and_desktops_are_read(kind: str) -> None:
    image = halves()
    data = file_of(image, kind, **({"quality": 95} if kind == "JPEG" else {}))
    off = np.abs(decode(data).astype(int) - np.asarray(image))
    # Coders of photographs smear the edge between the halves.
    assert off[[8, -8]].max() <= (0 if kind in LOSSLESS else 6)
    assert read_portrait(data, max_pixels=10**7, field="image").notices == ()


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "WEBP", "AVIF", "HEIC"])
def test_transparency_lies_on_white_in_every_format(kind: str) -> None:
    image = halves().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 40, *SIZE))
    decoded = decode(file_of(image, kind)).astype(int)
    assert (decoded[-8] >= 250).all()
    assert np.abs(decoded[8] - (30, 90, 160)).max() <= 8


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "WEBP", "AVIF"])
def test_of_several_pictures_the_first_is_taken(kind: str) -> None:
    others = [Image.new("RGB", SIZE, "black"), Image.new("RGB", SIZE, "white")]
    data = file_of(halves(), kind, save_all=True, append_images=others)
    assert np.abs(decode(data)[[8, -8]].astype(int) - np.asarray(halves())[[8, -8]]).max() <= 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_every_format_is_turned_upright(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode(file_of(halves(), kind, exif=exif)).astype(int)
    assert decoded.shape == (SIZE[0], SIZE[1], 3)
    assert np.abs(decoded[:, -8] - (30, 90, 160)).max() <= 8


def test_a_turned_telephone_picture_is_turned_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    pillow_heif.from_pillow(halves()).save(file, quality=95, exif=exif.tobytes())
    decoded = decode(file.getvalue()).astype(int)
    assert decoded.shape == (SIZE[0], SIZE[1], 3)
    assert np.abs(decoded[:, -8] - (30, 90, 160)).max() <= 8


def test_without_its_extra_heic_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(InvalidFieldError, match=r"HEIC .* extra `heic`; convert it to JPEG"):
        decode(file_of(halves(), "HEIC"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_named_as_that(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (80, 96, 3)).astype(np.uint8)
    data = file_of(Image.fromarray(noise), kind)
    for share in (0.5, 0.9):
        with pytest.raises(InvalidFieldError, match="truncated"):
            decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_is_held_to_the_largest_size(kind: str) -> None:
    with pytest.raises(InvalidFieldError, match="has 96 x 80 pixels; send at most 5000"):
        decode_portrait(file_of(halves(), kind), max_pixels=5000, field="portrait.image")


def grey16(order: str) -> bytes:
    ramp = np.linspace(0, 65535, 96 * 80).astype(f"{order}u2").reshape(80, 96)
    return file_of(
        Image.frombytes("I;16B" if order == ">" else "I;16", SIZE, ramp.tobytes()), "TIFF"
    )


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bits_of_grey_keep_their_shades(order: str) -> None:
    shades = np.linspace(0, 65535, 96 * 80).astype(int).reshape(80, 96) >> 8
    assert (decode(grey16(order)) == shades[..., None]).all()


@pytest.mark.parametrize(
    ("bits", "pixels", "photometric", "shown"),
    [
        (8, b"\x20", BLACK_IS_ZERO, 0x20),
        (8, b"\x20", WHITE_IS_ZERO, 0xDF),
        (12, b"\x20\x02\x00", BLACK_IS_ZERO, 0x20),
        (16, b"\xff\x20", BLACK_IS_ZERO, 0x20),
        (16, b"\xff\x20", WHITE_IS_ZERO, 0xDF),
    ],
)
def test_greys_of_any_depth_are_read_and_negatives_too(
    bits: int, pixels: bytes, photometric: int, shown: int
) -> None:
    width, height = SIZE
    strip = pixels * (width * height * bits // 8 // len(pixels))
    data = grey_tiff(strip, width, height, bits=bits, photometric=photometric)
    assert (decode(data) == shown).all()


@pytest.mark.parametrize(("mode", "word"), [("F", "floating-point"), ("I", "32-bit integer")])
def test_pixels_without_a_known_white_are_named(mode: str, word: str) -> None:
    with pytest.raises(InvalidFieldError, match=f"{word} pixels; save it with 8 or 16 bits"):
        decode(file_of(Image.new(mode, SIZE), "TIFF"))


def test_a_kind_that_the_decoder_does_not_know_is_named() -> None:
    floats = file_of(halves(), "TIFF").replace(b"\x08\0\x08\0\x08\0", b"\x20\0\x20\0\x20\0")
    with pytest.raises(InvalidFieldError, match="TIFF file, or of a rare kind; save it as JPEG"):
        decode(floats)


def test_the_general_brand_of_still_pictures_is_understood() -> None:
    for kind, brand in (("HEIC", b"ftypheic"), ("AVIF", b"ftypavif")):
        data = file_of(halves(), kind)
        assert (decode(data.replace(brand, b"ftypmif1", 1)) == decode(data)).all()


def boxed(brand: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + brand + bytes(4) + b"".join(compatible)
    return (len(body) + 4).to_bytes(4, "big") + body + bytes(100)


def raw() -> bytes:
    """A TIFF file whose first picture is a thumbnail, as those of cameras are."""
    return file_of(halves(), "TIFF", tiffinfo={254: 1})


PORTRAIT_TEXT = base64.b64encode(file_of(halves(), "PNG"))
FOREIGN: dict[str, bytes] = {
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "SVG drawing": b'<?xml version="1.0"?>\n<!-- drawn --><svg></svg>',
    "HTML page": b"\n<!DOCTYPE html><html><body>404</body></html>",
    "XML": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "JSON": b'{"error": "not found"}',
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    "address": b"https://example.com/portrait.png",
    "data URL": b"data:image/png;base64," + PORTRAIT_TEXT,
    "base64": PORTRAIT_TEXT,
    "base64 text": base64.b64encode(file_of(halves(), "JPEG")),
    "is text": "Grüße, ein Bild".encode() * 200,
    "PDF": b"%PDF-1.7\n" + bytes(50),
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0",
    "PSD": b"8BPS\0\1" + bytes(50),
    "XCF": b"gimp xcf v011\0",
    "JPEG XL": b"\xff\x0a" + bytes(50),
    "JPEG XL picture": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20),
    "JPEG 2000": file_of(halves(), "JPEG2000"),
    "ICO": file_of(halves(), "ICO"),
    "ICNS": b"icns" + bytes(20),
    "QOI": b"qoif" + bytes(50),
    "OpenEXR": b"\x76\x2f\x31\x01" + bytes(20),
    "CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(50),
    "CR3": boxed(b"crx ", b"isom"),
    "RAF": b"FUJIFILMCCD-RAW 0201",
    "raw file": raw(),
    "MP4": boxed(b"isom", b"avc1"),
    "QuickTime": boxed(b"qt  "),
    "M4A": boxed(b"M4A ", b"isom"),
    "WebM": b"\x1a\x45\xdf\xa3" + bytes(20),
    "AVI": b"RIFF\0\1\0\0AVI LIST",
    "WAV": b"RIFF\0\1\0\0WAVEfmt ",
    "MP3": b"ID3\4\0" + bytes(20),
    "Ogg": b"OggS" + bytes(20),
    "ZIP": b"PK\3\4" + bytes(20),
    "gzip": b"\x1f\x8b\x08" + bytes(20),
    "no known format": bytes(range(256)),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_other_files_are_named_with_a_remedy(name: str) -> None:
    with pytest.raises(InvalidFieldError, match=rf"^portrait.image: .*{name}.*; \w+"):
        decode(FOREIGN[name])


def test_many_are_decoded_at_once_as_one_by_one() -> None:
    files = [file_of(halves(), kind) for kind in KINDS]
    alone = [decode(data) for data in files]
    together: list[np.ndarray | None] = [None] * len(files)

    def into(index: int) -> Callable[[], None]:
        def work() -> None:
            together[index] = decode(files[index])

        return work

    threads = [threading.Thread(target=into(index)) for index in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        assert other is not None
        assert (one == other).all()
