"""PNG files, of which only what touches the pixels is shown to the decoder.

Image generators write megabytes of text beside a picture, which decoders refuse as a bomb, and a
wrong checksum of a text is no reason to refuse a portrait.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.pictures.depth import eight_bits
from server.pictures.formats import UnusablePictureError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
MAX_PROFILE_BYTES = 8 * 2**20
GREY, RGB, PALETTE, GREY_ALPHA = 0, 2, 3, 4
"""Colour types."""


@dataclass(frozen=True, slots=True)
class Png:
    """A PNG file taken apart.

    Attributes:
        pixels: a PNG file of nothing but the pixels, the palette and the orientation.
        depth: bits of a sample.
        colour_type: as the format numbers them.
        key: the one colour that is transparent, a sample for each channel.
        profile: of its colours.
        cut: whether the end of the file is missing.
    """

    pixels: bytes
    depth: int
    colour_type: int
    key: tuple[int, ...] | None
    profile: bytes | None
    cut: bool


def take_apart(data: bytes) -> Png:
    """Takes a PNG file apart.

    Raises:
        UnusablePictureError: a part that touches the pixels is damaged or unknown.
    """
    depth, colour_type = struct.unpack_from("BB", data, 24)
    kept, key, profile, kind = [SIGNATURE], None, None, b""
    for kind, body, intact in _chunks(data):
        if kind in CRITICAL or kind[:1].isupper():
            _check(kind, intact)
            kept.append(_chunk(kind, body))
        elif not intact:
            continue
        elif kind == b"tRNS" and colour_type in (GREY, RGB):
            key = struct.unpack_from(">H" if colour_type == GREY else ">HHH", body)
        elif kind == b"eXIf" or (kind == b"tRNS" and colour_type == PALETTE):
            kept.append(_chunk(kind, body))
        elif kind == b"iCCP":
            profile = _profile(body)
    cut = kind != b"IEND"
    if cut:
        kept.append(_chunk(b"IEND", b""))
    return Png(b"".join(kept), depth, colour_type, key, profile, cut)


def decode_png(image: Image.Image, png: Png) -> Image.Image:
    """Decodes the opened pixels of a file, to 8 bits, with its transparent colour."""
    pixels = eight_bits(image)
    if png.colour_type == GREY_ALPHA:
        # With 16 bits they come as RGBA.
        pixels = pixels.convert("LA")
    if png.key is not None:
        pixels = pixels.convert("L" if png.colour_type == GREY else "RGB")
        pixels.putalpha(Image.fromarray(_opaque(image, png, png.key)))
    return pixels


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yields type and content of each chunk up to the last, and whether its checksum is right.

    Of a file that is cut within its pixels, what there is of the last chunk is yielded too.
    """
    position = len(SIGNATURE)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        body = data[position + 8 : end]
        if end + 4 > len(data):
            if kind == b"IDAT":
                yield kind, body, True
            return
        (checksum,) = struct.unpack_from(">I", data, end)
        yield kind, body, zlib.crc32(body, zlib.crc32(kind)) == checksum
        if kind == b"IEND":
            return
        position = end + 4


def _check(kind: bytes, intact: bool) -> None:
    name = kind.decode("ascii", "replace")
    if not intact:
        raise UnusablePictureError(
            f"is a damaged PNG file: the checksum of a chunk {name} is wrong; send it again, whole"
        )
    if kind not in CRITICAL:
        raise UnusablePictureError(
            f"has a chunk {name!r}, which is no part of PNG; save it again as PNG or JPEG"
        )


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(kind))
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def _profile(body: bytes) -> bytes | None:
    """Returns the profile in a chunk, unless it is broken or too large to be one."""
    _, _, rest = body.partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(rest[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if unpacker.eof else None


def _opaque(image: Image.Image, png: Png, key: tuple[int, ...]) -> NDArray[np.uint8]:
    """Returns 255 where a pixel is not of the transparent colour, compared in all its bits."""
    if png.depth == 16 and png.colour_type == RGB:
        low = Image.open(io.BytesIO(png.pixels), formats=["PNG"])
        # The decoder keeps one byte of two, the upper one unless it takes them for little-endian.
        low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]
        upper, lower = (np.array([sample >> shift & 255 for sample in key]) for shift in (8, 0))
        same = (np.asarray(image) == upper) & (np.asarray(low) == lower)
    elif png.depth == 16:
        same = np.asarray(image)[..., None] == key
    else:
        scale = 255 // (2**png.depth - 1)
        shown = np.asarray(image.convert("L" if png.colour_type == GREY else "RGB"))
        same = np.atleast_3d(shown) == np.multiply(key, scale)
    return np.where(same.all(axis=-1), 0, 255).astype(np.uint8)
