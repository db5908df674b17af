"""A patch is a square of a picture, and its points lie where they are seen."""

import math

import numpy as np
import pytest
from PIL import Image

from server.pictures.patch import Patch

SIDE = 64


def dotted(x: int, y: int) -> Image.Image:
    """Returns a grey picture with a white spot around a point."""
    image = Image.new("RGB", (300, 200), "gray")
    image.paste("white", (x - 8, y - 8, x + 8, y + 8))
    return image


def spot(seen: np.ndarray) -> np.ndarray:
    """Returns x and y of the middle of the spot."""
    rows, columns = np.nonzero(seen[..., 0] > 190)
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5], np.float32)


@pytest.mark.parametrize("angle", [0.0, 0.4, math.pi / 2, -2.5])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("side", [90.0, 64.0, 400.0])
def test_a_point_that_is_seen_lies_where_it_is(angle: float, mirrored: bool, side: float) -> None:
    patch = Patch(140, 95, side, angle, mirrored)
    seen = patch.seen(dotted(155, 104), SIDE)
    assert seen.shape == (SIDE, SIDE, 3)
    placed = patch.to_picture(spot(seen), SIDE)
    np.testing.assert_allclose(placed, [155, 104], atol=side / SIDE)


def test_what_is_turned_clockwise_is_seen_upright() -> None:
    # In a head that lies on its left, the brow is at the right.
    seen = Patch(150, 100, 100, math.pi / 2).seen(dotted(180, 100), SIDE)
    x, y = spot(seen)
    assert x == pytest.approx(SIDE / 2, abs=1)
    assert y < SIDE / 2


def test_a_mirror_exchanges_left_and_right() -> None:
    x, y = spot(Patch(150, 100, 100, mirrored=True).seen(dotted(180, 100), SIDE))
    assert x < SIDE / 2
    assert y == pytest.approx(SIDE / 2, abs=1)


def test_beyond_the_picture_it_is_black() -> None:
    image = Image.new("RGB", (100, 100), "white")
    assert not Patch(500, 500, 50).seen(image, SIDE).any()
    half = Patch(0, 50, 50).seen(image, SIDE)
    assert not half[:, : SIDE // 2 - 1].any()
    assert (half[:, SIDE // 2 + 1 :] == 255).all()


def test_a_large_patch_is_averaged_and_not_sampled() -> None:
    stripes = np.zeros((1024, 1024, 3), np.uint8)
    stripes[:, ::2] = 255
    seen = Patch(512, 512, 1000).seen(Image.fromarray(stripes), SIDE)
    assert np.ptp(seen) < 40


def test_depth_is_scaled_alike() -> None:
    placed = Patch(10, 10, 128).to_picture(np.array([[32, 32, 3]], np.float32), SIDE)
    np.testing.assert_allclose(placed, [[10, 10, 6]])
