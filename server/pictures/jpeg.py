"""JPEG files that end early.

Viewers show what there is, and grey below. How much is missing is seen by decoding twice, with
two different ends: only what was not in the file differs.
"""

import io
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from PIL import Image

END = b"\xff\xd9"
START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
START_OF_SCAN, END_OF_IMAGE, RESTART_INTERVAL = 0xDA, 0xD9, 0xDD
RESTARTS = range(0xD0, 0xD8)
LONE = {0x00, 0x01, *RESTARTS, 0xD8}
"""What may follow 0xFF without a segment: a stuffed zero, restarts, the start of the image."""
COEFFICIENTS = 64
PIXELS_PER_UNIT = 256
"""At most, in the units that restarts count."""
NOISE_BYTES_PER_PIXEL = 2
"""More than any picture has."""


@dataclass(slots=True)
class Structure:
    """What the markers of a file tell.

    Attributes:
        ends: whether the image has its end.
        components: channels.
        finished: the components and coefficients that have a scan for their last bit.
        restart_interval: units between restarts, or 0 where there are none.
        restarts: of the last scan, so far.
    """

    ends: bool = False
    components: int = 0
    finished: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    restart_interval: int = 0
    restarts: int = 0

    @property
    def has_all_scans(self) -> bool:
        """Whether the last of its scans has begun."""
        return 0 < self.components * COEFFICIENTS <= len(self.finished)


def mended(data: bytes) -> bytes | None:
    """Returns a file that ends early with an end, or None for one that has its own.

    Zeros at its end are those of a download that reserved its space.
    """
    return None if _structure(data).ends else data.rstrip(b"\0\xff") + END


def missing_share(mended_data: bytes, worth_knowing: float) -> float:
    """Returns what share of the pixels of a mended file is missing; beyond a bound, at least that.

    Of a progressive file this is about its last scan: without all of the scans before, all of it
    counts as missing.
    """
    structure = _structure(mended_data)
    if not structure.has_all_scans:
        return 1.0
    with Image.open(io.BytesIO(mended_data), formats=["JPEG"]) as image:
        pixels = int(image.width * image.height * worth_knowing)
        other_end = mended_data.removesuffix(END) + _noise(structure, pixels) + END
        with Image.open(io.BytesIO(other_end), formats=["JPEG"]) as other:
            differs = np.atleast_3d(np.asarray(image) != np.asarray(other)).any(axis=-1)
    return float(differs.mean())


def _noise(structure: Structure, pixels: int) -> bytes:
    """Returns what decodes to that many pixels of noise or more, with the restarts due in it."""
    units = pixels // PIXELS_PER_UNIT + 1
    if structure.restart_interval:
        units = min(units, structure.restart_interval)
    length = units * PIXELS_PER_UNIT * NOISE_BYTES_PER_PIXEL
    # Never 0xFF, which would begin a marker.
    noise = np.random.default_rng(0).integers(0, 255, length, np.uint8).tobytes()
    count = pixels // (units * PIXELS_PER_UNIT) + 2
    marks = (RESTARTS[(structure.restarts + i) % len(RESTARTS)] for i in range(count))
    return b"".join(noise + bytes([0xFF, mark]) for mark in marks) + noise


def _structure(data: bytes) -> Structure:
    found, position = Structure(), 0
    while 0 <= (position := data.find(b"\xff", position)) < len(data) - 1:
        code = data[position + 1]
        if code == END_OF_IMAGE:
            found.ends = True
            break
        if code == 0xFF or code in LONE:
            found.restarts += code in RESTARTS
            position += 1 if code == 0xFF else 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        _segment(found, code, data[position + 4 : position + 2 + length])
        position += 2 + length
    return found


def _segment(found: Structure, code: int, body: bytes) -> None:
    if code in START_OF_FRAME:
        found.components = body[5]
    elif code == RESTART_INTERVAL:
        found.restart_interval = int.from_bytes(body, "big")
    elif code == START_OF_SCAN:
        found.restarts = 0
        found.finished |= _finished(body)


def _finished(scan: bytes) -> set[tuple[int, int]]:
    """Returns the components and coefficients of which a scan holds the last bit."""
    count = scan[0]
    first, last, bits = scan[1 + 2 * count : 4 + 2 * count]
    if bits & 15:
        return set()
    return set(product(scan[1 : 1 + 2 * count : 2], range(first, last + 1)))
