"""Colours that drift are put right, and people who move are left where they are."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from server.animation.anchor import Anchor
from server.settings import Settings

Pictures = NDArray[np.uint8]

LEVELS: float = Settings.model_fields["drift_levels"].default
PHOTOGRAPH = Path("docs/media/photograph.jpg")
SIDE = 256


@pytest.fixture(scope="module")
def portrait() -> Pictures:
    with Image.open(PHOTOGRAPH) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def with_moved_head(picture: Pictures, share: float) -> Pictures:
    """Moves the head to the right by a share of the side, and all around it ever less."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    near = np.exp(-((((columns - 0.5) / 0.2) ** 2 + ((rows - 0.4) / 0.25) ** 2) ** 2))
    source = np.clip((columns - share * near) * SIDE, 0, SIDE - 1)
    left = np.minimum(source.astype(int), SIDE - 2)
    part = (source - left)[..., None]
    row = np.arange(SIDE)[:, None]
    moved = picture[row, left] * (1 - part) + picture[row, left + 1] * part
    return np.rint(moved).astype(np.uint8)


def drifted(picture: Pictures) -> Pictures:
    """Makes a picture redder, less green and a little bluer at its top, unevenly."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    drift = np.stack([10 + 6 * np.sin(6 * columns), np.full_like(rows, -8), 6 * np.cos(5 * rows)])
    return np.clip(np.rint(picture + np.moveaxis(drift, 0, -1)), 0, 255).astype(np.uint8)


def psnr_db(picture: Pictures, other: Pictures) -> float:
    error = np.square(picture.astype(np.float64) - other).mean()
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def held(portrait: Pictures, shown: Pictures, levels: float = LEVELS) -> Pictures:
    return Anchor(portrait, levels).hold(shown[None])[0]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.1])
def test_drift_goes_and_movement_stays(portrait: Pictures, share: float) -> None:
    moved = with_moved_head(portrait, share)
    assert psnr_db(drifted(moved), moved) < 31
    assert psnr_db(held(portrait, drifted(moved)), moved) > 36
    assert psnr_db(held(portrait, moved), moved) > 37


def test_what_is_as_the_portrait_stays_as_it_is(portrait: Pictures) -> None:
    np.testing.assert_array_equal(held(portrait, portrait), portrait)


def test_it_can_be_switched_off(portrait: Pictures) -> None:
    shown = drifted(portrait)
    np.testing.assert_array_equal(held(portrait, shown, levels=0), shown)


def test_more_levels_hold_more_of_a_strong_drift(portrait: Pictures) -> None:
    shown = np.clip(portrait.astype(int) + 60, 0, 255).astype(np.uint8)
    far, near = (psnr_db(held(portrait, shown, levels), portrait) for levels in (8, 80))
    assert near > far + 10


def test_frames_keep_what_they_differ_by(portrait: Pictures) -> None:
    portrait = np.clip(portrait, 60, 190)
    mouth_opens = np.repeat(drifted(portrait)[None], 3, axis=0)
    mouth_opens[1:, 120:140, 100:130] = 70
    frames = Anchor(portrait, LEVELS).hold(mouth_opens).astype(int)
    np.testing.assert_allclose(np.diff(frames, axis=0), np.diff(mouth_opens.astype(int), axis=0), 1)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 208), (208, 48), (130, 70)])
def test_pictures_of_any_shape_are_held(height: int, width: int) -> None:
    portrait = np.random.default_rng(0).integers(40, 200, (height, width, 3), np.uint8)
    frames = Anchor(portrait, LEVELS).hold((portrait + np.uint8(10))[None])
    assert frames.shape == (1, height, width, 3)
    assert np.abs(frames[0].astype(int) - portrait).max() <= 2
