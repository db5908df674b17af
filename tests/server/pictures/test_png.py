"""PNG files: all depths and colour types, and what lies beside the pixels."""

import struct
import zlib

import numpy as np
import pytest

from server.errors import InvalidFieldError
from server.pictures.portrait import decode_portrait, read_portrait
from tests.support.png_files import (
    GREY,
    GREY_ALPHA,
    PALETTE,
    RGB,
    RGB_ALPHA,
    SIGNATURE,
    chunk,
    png_file,
)

SIDE = 64
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
KINDS = [
    (depth, colour_type, transparent)
    for colour_type, depths in {
        GREY: (1, 2, 4, 8, 16),
        RGB: (8, 16),
        PALETTE: (1, 2, 4, 8),
        GREY_ALPHA: (8, 16),
        RGB_ALPHA: (8, 16),
    }.items()
    for depth in depths
    for transparent in (False, True)
    if not (transparent and colour_type in (GREY_ALPHA, RGB_ALPHA))
]


def decode(data: bytes) -> np.ndarray:
    return np.asarray(decode_portrait(data, max_pixels=10**7, field="portrait.image"))


def random_samples(depth: int, channels: int) -> np.ndarray:
    return np.random.default_rng(depth).integers(0, 2**depth, (SIDE, SIDE, channels))


@pytest.mark.parametrize(("depth", "colour_type", "transparent"), KINDS)
def test_every_depth_and_colour_type_looks_as_it_is_meant(
    depth: int, colour_type: int, transparent: bool
) -> None:
    samples = random_samples(depth, CHANNELS[colour_type])
    eight = samples >> 8 if depth == 16 else samples * (255 // (2**depth - 1))
    alpha, before = np.full((SIDE, SIDE, 1), 255), b""
    match colour_type:
        case 3:
            palette = np.random.default_rng(7).integers(0, 256, (2**depth, 3))
            alphas = np.random.default_rng(8).integers(0, 256, 2**depth)
            colours = palette[samples[..., 0]]
            before = chunk(b"PLTE", palette.astype(np.uint8).tobytes())
            if transparent:
                before += chunk(b"tRNS", alphas.astype(np.uint8).tobytes())
                alpha = alphas[samples]
        case 4 | 6:
            colours, alpha = eight[..., :-1], eight[..., -1:]
        case _:
            colours = eight
            if transparent:
                key = samples[0, 0]
                before = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
                alpha = np.where((samples == key).all(-1, keepdims=True), 0, 255)
    meant = np.broadcast_to(colours, (SIDE, SIDE, 3))
    on_white = (meant * alpha + 255 * (255 - alpha)) / 255
    decoded = decode(png_file(samples, depth, colour_type, before=before))
    # Compositing rounds.
    assert np.abs(decoded - on_white).max() <= 1
    assert (decoded == meant)[np.broadcast_to(alpha == 255, meant.shape)].all()


@pytest.mark.parametrize("colour_type", [GREY, RGB])
def test_a_transparent_colour_of_16_bits_is_compared_in_all_of_them(colour_type: int) -> None:
    samples = np.full((SIDE, SIDE, CHANNELS[colour_type]), 0x3412)
    samples[:, 32:, -1] = 0x3413
    key = chunk(b"tRNS", struct.pack(">H", 0x3412) * CHANNELS[colour_type])
    decoded = decode(png_file(samples, 16, colour_type, before=key))
    assert (decoded[:, :32] == 255).all()
    assert (decoded[:, 32:] == 0x34).all()


MIB = 2**20
WORKFLOW = b'{"a":1}' * 300_000
WRONG = bytearray(chunk(b"tEXt", b"Comment\0drawn by hand"))
WRONG[-1] ^= 1
BESIDE = {
    "zTXt of 2 MB": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(WORKFLOW)),
    "iTXt of 2 MB": chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(WORKFLOW)),
    "tEXt of 2 MB": chunk(b"tEXt", b"workflow\0" + WORKFLOW),
    "profile of 2 MB": chunk(b"iCCP", b"big\0\0" + zlib.compress(bytes(2 * MIB))),
    "profile that unpacks to 64 MB": chunk(b"iCCP", b"big\0\0" + zlib.compress(bytes(64 * MIB))),
    "profile that is no stream": chunk(b"iCCP", b"big\0\0nothing"),
    "profile without a name": chunk(b"iCCP", b""),
    "text with a wrong checksum": bytes(WRONG),
    "orientation that is none": chunk(b"eXIf", b"nothing of the kind"),
    "several": chunk(b"gAMA", b"") + chunk(b"pHYs", b"1") + chunk(b"tIME", b"") + bytes(WRONG),
    "animation": chunk(b"acTL", struct.pack(">II", 2, 0)),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_does_not_touch_the_pixels_refuses_no_portrait(name: str) -> None:
    samples = random_samples(8, 3)
    for place in ("before", "after"):
        decoded = decode(png_file(samples, 8, RGB, **{place: BESIDE[name]}))
        assert (decoded == samples).all()


def test_of_an_animation_the_first_picture_is_taken() -> None:
    samples = random_samples(8, 3)
    frame = struct.pack(">IIIIIHHBB", 0, SIDE, SIDE, 0, 0, 1, 25, 0, 0)
    second = chunk(b"fdAT", struct.pack(">I", 1) + zlib.compress(bytes(SIDE * (3 * SIDE + 1))))
    control = chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", frame)
    data = png_file(samples, 8, RGB, before=control, after=chunk(b"fcTL", frame) + second)
    assert (decode(data) == samples).all()


def test_the_orientation_beside_the_pixels_counts() -> None:
    samples = random_samples(8, 3)
    turned = b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\3\0\0\0\0\0\0"
    data = png_file(samples, 8, RGB, before=chunk(b"eXIf", turned))
    assert (decode(data) == samples[::-1, ::-1]).all()


def damaged(data: bytes, kind: bytes) -> bytes:
    at = data.index(kind) + 6
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


WHOLE = png_file(random_samples(8, 3), 8, RGB)
PIXELS_END = len(WHOLE) - 12
UNUSABLE = {
    "damaged header": (damaged(WHOLE, b"IHDR"), "damaged"),
    "damaged pixels": (damaged(WHOLE, b"IDAT"), "damaged"),
    "half of it": (WHOLE[: len(WHOLE) // 2], "truncated"),
    "no tenth row from below": (WHOLE[: -len(WHOLE) // 10], "truncated"),
    "header alone": (WHOLE[:33], "truncated"),
    "first bytes alone": (WHOLE[:20], "truncated"),
    "made for telephones": (SIGNATURE + chunk(b"CgBI", bytes(4)) + WHOLE[8:], "CgBI"),
    "fewer pixels than it says": (
        WHOLE[:33] + chunk(b"IDAT", zlib.compress(bytes(100))) + WHOLE[-12:],
        "truncated",
    ),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_damage_to_the_pixels_is_named(name: str) -> None:
    data, word = UNUSABLE[name]
    with pytest.raises(InvalidFieldError, match=word):
        decode(data)


@pytest.mark.parametrize("end", [len(WHOLE) - 1, PIXELS_END, PIXELS_END - 2, PIXELS_END - 6])
def test_a_file_cut_behind_its_pixels_is_taken_with_a_notice(end: int) -> None:
    portrait = read_portrait(WHOLE[:end], max_pixels=10**7, field="portrait.image")
    assert (np.asarray(portrait.image) == random_samples(8, 3)).all()
    assert [notice.reason for notice in portrait.notices] == ["PORTRAIT_DAMAGED"]


def test_a_whole_file_has_no_notice() -> None:
    assert read_portrait(WHOLE, max_pixels=10**7, field="portrait.image").notices == ()
