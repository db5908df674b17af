"""JPEG files that end early."""

import io

import numpy as np
import pytest
from PIL import Image

from server.errors import InvalidFieldError
from server.pictures.portrait import Portrait, read_portrait

SIDE = 320


def read(data: bytes) -> Portrait:
    return read_portrait(data, max_pixels=10**7, field="portrait.image")


def textured() -> Image.Image:
    """Every row as heavy as any other."""
    noise = np.random.default_rng(0).normal(0, 12, (SIDE, SIDE, 1))
    slope = np.linspace(60, 190, SIDE)[:, None, None] * np.array([1, 0.8, 0.6])
    return Image.fromarray(np.clip(slope + noise, 0, 255).astype(np.uint8))


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    textured().convert(mode).save(file, "JPEG", quality=85, **options)
    return file.getvalue()


KINDS = {
    "baseline": jpeg(),
    "full colour": jpeg(subsampling=0),
    "grey": jpeg("L"),
    "inks": jpeg("CMYK"),
    "restarts": jpeg(restart_marker_rows=1),
    "progressive": jpeg(progressive=True),
    "progressive grey": jpeg("L", progressive=True),
}


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(read(data).image).astype(int)


@pytest.mark.parametrize("name", KINDS)
def test_a_whole_file_is_decoded_as_ever_and_without_a_notice(name: str) -> None:
    portrait = read(KINDS[name])
    with Image.open(io.BytesIO(KINDS[name])) as plain:
        assert (np.asarray(portrait.image) == np.asarray(plain.convert("RGB"))).all()
    assert portrait.notices == ()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("cut", [1, 2])
def test_a_file_without_its_end_mark_lacks_nothing(name: str, cut: int) -> None:
    portrait = read(KINDS[name][:-cut])
    assert (np.asarray(portrait.image) == pixels(KINDS[name])).all()
    (notice,) = portrait.notices
    assert notice.reason == "PORTRAIT_DAMAGED"
    assert "0.0%" in notice.message


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("cut", [3, 10, 40])
def test_a_file_cut_short_by_a_few_bytes_is_taken_with_a_notice(name: str, cut: int) -> None:
    portrait = read(KINDS[name][:-cut])
    changed = (np.asarray(portrait.image) != pixels(KINDS[name])).any(axis=-1)
    assert not changed[:-32].any()
    (notice,) = portrait.notices
    assert notice.reason == "PORTRAIT_DAMAGED"


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_a_file_that_lacks_a_tenth_is_refused_as_truncated(name: str, share: float) -> None:
    data = KINDS[name][: int(len(KINDS[name]) * (1 - share))]
    with pytest.raises(InvalidFieldError, match="truncated"):
        read(data)
    # As of a download that reserved its space.
    with pytest.raises(InvalidFieldError, match="truncated"):
        read(data + bytes(len(KINDS[name]) - len(data)))


def test_a_progressive_file_without_its_last_scan_is_refused() -> None:
    data = KINDS["progressive"]
    for scan in range(2, 11):
        *whole, _ = data.split(b"\xff\xda", scan)
        with pytest.raises(InvalidFieldError, match="truncated"):
            read(b"\xff\xda".join(whole))


@pytest.mark.parametrize("behind", [bytes(1000), b"a second file", b"\xff\xd8\xff\xe0" + bytes(9)])
def test_what_comes_behind_the_end_does_not_matter(behind: bytes) -> None:
    portrait = read(KINDS["baseline"] + behind)
    assert (np.asarray(portrait.image) == pixels(KINDS["baseline"])).all()
    assert portrait.notices == ()


def test_a_file_of_several_pictures_is_taken_by_its_first() -> None:
    file = io.BytesIO()
    textured().save(file, "MPO", save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE))])
    assert np.abs(pixels(file.getvalue()) - np.asarray(textured())).mean() < 15
    assert read(file.getvalue()).notices == ()


def test_a_header_alone_is_refused_as_truncated() -> None:
    for end in (3, 4, 20, 100, 500):
        with pytest.raises(InvalidFieldError, match="truncated"):
            read(KINDS["baseline"][:end])
