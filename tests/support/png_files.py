"""PNG files of every depth and colour type, chunk by chunk."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6


def chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png_file(
    samples: NDArray[np.integer],
    depth: int,
    colour_type: int,
    *,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A file of samples [height, width, channels], with chunks before and after its pixels."""
    height, width, _ = samples.shape
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + _packed(row.reshape(-1), depth) for row in samples)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return SIGNATURE + chunk(b"IHDR", header) + before + pixels + after + chunk(b"IEND", b"")


def _packed(samples: NDArray[np.integer], depth: int) -> bytes:
    if depth == 16:
        return samples.astype(">u2").tobytes()
    bits = np.unpackbits(samples.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
    return np.packbits(bits.reshape(-1)).tobytes()
