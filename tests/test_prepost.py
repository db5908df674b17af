"""What happens to pictures before and after the networks, against the authors' program."""

import math

import numpy as np
import pytest
from PIL import Image

from server.clip import to_pictures
from server.colors import ColorMatcher
from server.face import FaceBox, at_least_one_token, face_mask
from server.portrait import Placement, cropped, whole
from tests.reference import ReferenceFixture, reference_fixture, reference_numbers

RESIZE_LEVELS = 1
COLOR_LEVELS = 2


@pytest.fixture(scope="module")
def prepost() -> ReferenceFixture:
    return reference_numbers("prepost")


def levels(ours: np.ndarray, theirs: np.ndarray) -> int:
    assert ours.shape == theirs.shape
    return int(np.abs(ours.astype(int) - theirs.astype(int)).max())


def test_portraits_get_the_size_and_pixels_of_the_authors() -> None:
    prepost = reference_fixture("prepost")
    assert prepost.config["image_prep"]
    for case in prepost.config["image_prep"]:
        image = Image.fromarray(prepost.inputs[f"{case['name']}.image_u8"])
        height, width = case["sample_size"]
        picture, placement = whole(image, height * width)
        expected = case["expected"]
        assert (placement.height, placement.width) == (expected["height"], expected["width"])
        assert levels(picture, prepost.outputs[f"{case['name']}.resized_u8"]) <= RESIZE_LEVELS


def test_face_masks_are_those_of_the_authors(prepost: ReferenceFixture) -> None:
    for case in prepost.config["image_prep"]:
        top, bottom, left, right, mask_height, mask_width = case["face_mask_npy"]
        height, width = case["expected"]["height"], case["expected"]["width"]
        scale = math.sqrt(height * width / (mask_height * mask_width))
        assert scale == pytest.approx(case["expected"]["downratio"])
        mask = face_mask(FaceBox(left, top, right, bottom), Placement(width, height, scale))
        np.testing.assert_array_equal(mask.ravel(), prepost.outputs[f"{case['name']}.ip_mask"])


def test_colours_are_matched_as_the_authors_do(prepost: ReferenceFixture) -> None:
    assert prepost.config["color_transfer"]
    for name in prepost.config["color_transfer"]:
        pictures = to_pictures(prepost.inputs[f"{name}.frames01"][0])
        np.testing.assert_array_equal(pictures, prepost.outputs[f"{name}.before_transfer_u8"])
        match = ColorMatcher()
        # In two pieces: the first picture of all is the one to match.
        saved = np.concatenate([match(pictures[:2]), match(pictures[2:])])
        assert levels(saved, prepost.outputs[f"{name}.saved_frames_u8"]) <= COLOR_LEVELS
        assert levels(pictures, prepost.outputs[f"{name}.saved_frames_u8"]) > COLOR_LEVELS


def test_a_picture_of_one_colour_is_matched_too() -> None:
    match = ColorMatcher()
    pictures = np.stack([np.full((16, 16, 3), level, np.uint8) for level in (40, 90)])
    assert levels(match(pictures), np.full((2, 16, 16, 3), 40)) <= COLOR_LEVELS


def test_a_box_moves_with_the_crop() -> None:
    _, placement = cropped(Image.new("RGB", (400, 200)), 64, 64)
    assert placement.point(100, 0) == (0, 0)
    assert placement.point(300, 200) == (64, 64)
    mask = face_mask(FaceBox(150, 50, 250, 150), placement)
    assert mask.sum() == 4
    assert mask[1:3, 1:3].all()


def test_a_face_smaller_than_a_token_keeps_one() -> None:
    placement = Placement(64, 64, scale=1)
    box = FaceBox(20, 36, 24, 40)
    mask = face_mask(box, placement)
    assert not mask.any()
    kept = at_least_one_token(mask, box, placement)
    assert np.argwhere(kept).tolist() == [[2, 1]]
    outside = FaceBox(900, 900, 901, 901)
    assert at_least_one_token(mask, outside, placement)[3, 3] == 1
