"""What happens to pictures before and after the networks, against the authors' program."""

import numpy as np
import pytest
from PIL import Image

from server.pictures.colors import ColorMatcher
from server.pictures.face import FaceBox, at_least_one_token, face_mask
from server.pictures.portrait import Placement, cropped
from tests.support.prepost_cases import prepost_cases
from tests.support.reference import reference_numbers


def test_every_picture_and_mask_is_that_of_the_authors(subtests: pytest.Subtests) -> None:
    cases = list(prepost_cases(reference_numbers("prepost")))
    assert {"face mask", "frames with matched colours"} <= {case.quantity for case in cases}
    for case in cases:
        with subtests.test(msg=f"{case.name}: {case.quantity}"):
            assert case.difference <= case.tolerance


def test_matching_colours_changes_the_frames_of_the_reference() -> None:
    for case in prepost_cases(reference_numbers("prepost")):
        if case.quantity == "frames as bytes":
            matched = reference_numbers("prepost").outputs[f"{case.name}.saved_frames_u8"]
            assert np.abs(case.ours.astype(int) - matched).max() > 2


def test_a_picture_of_one_colour_is_matched_too() -> None:
    match = ColorMatcher()
    pictures = np.stack([np.full((16, 16, 3), level, np.uint8) for level in (40, 90)])
    assert np.abs(match(pictures).astype(int) - 40).max() <= 2


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
