"""TIFF files of grey pixels that Pillow reads and does not write."""

import struct

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
OFFSET, CHANNELS, ROWS, LENGTH = 273, 277, 278, 279
WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1


def grey_tiff(pixels: bytes, width: int, height: int, *, bits: int, photometric: int) -> bytes:
    """A little-endian file of packed pixels, uncompressed, in one strip."""
    entries = {
        WIDTH: width,
        HEIGHT: height,
        BITS: bits,
        COMPRESSION: 1,
        PHOTOMETRIC: photometric,
        CHANNELS: 1,
        ROWS: height,
        LENGTH: len(pixels),
    }
    entries[OFFSET] = 8 + 2 + 12 * (len(entries) + 1) + 4
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, entries[tag]) for tag in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + listed + bytes(4) + pixels
