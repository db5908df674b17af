"""Whatever bytes are sent as a portrait: a picture, or a refusal that names the field."""

import io
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from server.errors import InvalidFieldError
from server.pictures.portrait import decode_portrait
from tests.support.fuzzing import BYTES, fuzzed, mutated

MAX_PIXELS = 10**5
KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


def picture(kind: str, size: tuple[int, int] = (72, 64)) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3)).astype(np.uint8)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    extra = {} if kind in ("GIF", "BMP") else {"exif": exif}
    Image.fromarray(noise).save(file, kind, **extra)
    return file.getvalue()


FILES = {kind: picture(kind) for kind in KINDS}
BEGINNINGS = st.sampled_from([file[:n] for file in FILES.values() for n in (4, 16, 40)])


def seen(data: bytes) -> np.ndarray:
    image = np.asarray(decode_portrait(data, max_pixels=MAX_PIXELS, field="portrait.image"))
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[0] * image.shape[1] <= MAX_PIXELS
    return image


def seen_or_refused(data: bytes) -> None:
    try:
        seen(data)
    except InvalidFieldError as error:
        assert error.field == "portrait.image"  # noqa: PT017


@pytest.mark.parametrize("kind", KINDS)
@fuzzed(60)
@given(data=st.data())
def test_any_file_is_seen_or_refused(kind: str, data: st.DataObject) -> None:
    seen_or_refused(data.draw(mutated(FILES[kind])))


@fuzzed(60)
@given(
    start=st.sampled_from([file[:n] for file in FILES.values() for n in (4, 16, 40)]), rest=BYTES
)
def test_any_bytes_after_a_beginning_are_seen_or_refused(start: bytes, rest: bytes) -> None:
    seen_or_refused(start + rest)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "other", [b"PK\3\4" + bytes(60), b"<script>alert(1)</script>", b"%PDF-1.7", FILES["JPEG"]]
)
def test_what_follows_a_picture_is_never_read(kind: str, other: bytes) -> None:
    np.testing.assert_array_equal(seen(FILES[kind] + other), seen(FILES[kind]))


def chunk(kind: bytes, data: bytes) -> bytes:
    checked = kind + data
    return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes((3 * width + 1) * height)))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(chunks)
        + pixels
        + chunk(b"IEND", b"")
    )


@contextmanager
def little_memory() -> Iterator[None]:
    """Fails if Python holds much more at any time than before."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


BOMB = zlib.compress(bytes(200 * 2**20), 9)
"""200 KB that unfold to 200 MB."""


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP", b"eXIf"])
def test_what_unfolds_beside_the_pixels_is_not_kept(name: bytes) -> None:
    head = b"name\0\1\0\0\0" if name == b"iTXt" else b"name\0\0"
    data = png(64, 64, chunk(name, head + BOMB))
    with little_memory():
        seen_or_refused(data)


def test_pixels_beyond_the_picture_are_not_unfolded() -> None:
    data = png(64, 64)
    at = data.index(b"IDAT") - 4
    data = data[:at] + chunk(b"IDAT", BOMB) + chunk(b"IEND", b"")
    with little_memory():
        seen_or_refused(data)


@pytest.mark.parametrize("side", [400, 65_535])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_picture_that_claims_to_be_huge_is_refused_before_it_is_decoded(
    kind: str, side: int
) -> None:
    data = bytearray(FILES[kind])
    match kind:
        case "JPEG":
            at = data.index(b"\xff\xc0") + 5
            data[at : at + 4] = struct.pack(">HH", side, side)
        case "PNG":
            data[16:24] = struct.pack(">II", side, side)
            data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        case "GIF":
            data[6:10] = struct.pack("<HH", side, side)
        case "BMP":
            data[18:26] = struct.pack("<ii", side, side)
        case _:
            at = data.index(b"VP8X") + 12
            data[at : at + 6] = 2 * (side - 1).to_bytes(3, "little")
    with pytest.raises(InvalidFieldError, match=r"portrait\.image"):
        seen(bytes(data))
