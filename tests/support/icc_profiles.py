"""ICC profiles of version 2, built from numbers, and the colours that they mean."""

import struct
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

D50 = (0.9642, 1.0, 0.8249)
SRGB_TO_D50 = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)


@dataclass(frozen=True)
class MatrixProfile:
    """A profile of three primaries and one curve; columns of the matrix are XYZ under D50."""

    to_xyz: tuple[tuple[float, float, float], ...]
    gamma: float

    def file(self) -> bytes:
        red, green, blue = (_xyz(column) for column in np.transpose(self.to_xyz))
        curve = _curve(self.gamma)
        return _profile(
            b"RGB ",
            {b"rXYZ": red, b"gXYZ": green, b"bXYZ": blue}
            | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
        )

    def in_srgb(self, picture: NDArray[np.uint8]) -> NDArray[np.float64]:
        """What a picture [..., 3] in this space is in sRGB, cut to its range; 0 to 255."""
        xyz = (picture / 255) ** self.gamma @ np.transpose(self.to_xyz)
        return _encoded(xyz @ np.linalg.inv(SRGB_TO_D50).T)


DISPLAY_P3 = MatrixProfile(
    ((0.51512, 0.29198, 0.15710), (0.24120, 0.69225, 0.06657), (-0.00105, 0.04189, 0.78407)), 2.2
)
ADOBE_RGB = MatrixProfile(
    ((0.60974, 0.20528, 0.14919), (0.31111, 0.62567, 0.06322), (0.01947, 0.06087, 0.74457)),
    563 / 256,
)
PROPHOTO = MatrixProfile(
    ((0.7977, 0.1352, 0.0313), (0.2880, 0.7119, 0.0001), (0.0, 0.0, 0.8249)), 1.8
)


def grey_profile(gamma: float) -> bytes:
    return _profile(b"GRAY", {b"kTRC": _curve(gamma)})


def grey_in_srgb(picture: NDArray[np.uint8], gamma: float) -> NDArray[np.float64]:
    return _encoded((picture / 255) ** gamma)


def ink_profile(colours: NDArray[np.uint8]) -> bytes:
    """A profile of inks by the sRGB colours [16, 3] of paper with each ink or without.

    Cyan changes slowest, black fastest, as in a lookup table of two steps.
    """
    xyz = _linear(colours / 255) @ SRGB_TO_D50.T
    table = b"mft2\0\0\0\0" + bytes([4, 3, 2, 0])
    table += b"".join(struct.pack(">i", value << 16) for value in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    table += struct.pack(">HH", 2, 2) + struct.pack(">HH", 0, 0xFFFF) * 4
    table += _lab16(xyz).astype(">u2").tobytes() + struct.pack(">HH", 0, 0xFFFF) * 3
    return _profile(b"CMYK", {b"A2B0": table, b"A2B1": table}, kind=b"prtr", connection=b"Lab ")


def ink_combinations() -> NDArray[np.uint8]:
    """The 16 combinations of inks, in the order of the table, [16, 4]."""
    return np.array(list(product((0, 255), repeat=4)), np.uint8)


def _lab16(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE Lab in 16 bits as in version 2: 100 is 0xFF00, and 0 of a and b 0x8000."""
    ratio = xyz / np.array(D50)
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = root.T
    lightness, a, b = 116 * y - 16, 500 * (x - y), 200 * (y - z)
    return np.rint(np.stack([lightness * 652.8, (a + 128) * 256, (b + 128) * 256], axis=-1))


def _linear(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)


def _encoded(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(linear, 0, 1)
    curved = 1.055 * np.maximum(inside, 1e-9) ** (1 / 2.4) - 0.055
    return 255 * np.where(inside > 0.0031308, curved, inside * 12.92)


def _fixed(values: tuple[float, ...] | NDArray[np.float64]) -> bytes:
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)


def _xyz(values: tuple[float, ...] | NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(values)


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"


def _profile(
    colours: bytes,
    tags: dict[bytes, bytes],
    *,
    kind: bytes = b"mntr",
    connection: bytes = b"XYZ ",
) -> bytes:
    name = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(79)
    tags = {b"desc": name, b"wtpt": _xyz(D50)} | tags
    table, body = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        start = 128 + 4 + 12 * len(tags) + len(body)
        table += tag + struct.pack(">II", start, len(content))
        body += content + bytes(-len(content) % 4)
    head = b"test\x02\x10\0\0" + kind + colours + connection
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(D50)
    head = head.ljust(124, b"\0")
    return struct.pack(">I", 128 + len(table) + len(body)) + head + table + body
