"""What the reference holds about pictures before and after the networks: ours beside theirs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.animation.clip import to_pictures
from server.pictures.colors import ColorMatcher
from server.pictures.face import FaceBox, face_mask
from server.pictures.portrait import Placement, whole
from tests.support.reference import ReferenceFixture


@dataclass(frozen=True)
class PictureCase:
    """One array, and how far its values may be from the authors'."""

    quantity: str
    name: str
    ours: NDArray[Any]
    theirs: NDArray[Any]
    tolerance: int

    @property
    def difference(self) -> int:
        """The largest difference; it is exact, since all values are whole numbers."""
        assert self.ours.shape == self.theirs.shape
        return int(np.abs(self.ours.astype(int) - self.theirs.astype(int)).max())


def prepost_cases(fixture: ReferenceFixture) -> Iterator[PictureCase]:
    """Yields what the fixture holds; a reduced set has no portraits."""
    for case in fixture.config["image_prep"]:
        if f"{case['name']}.image_u8" in fixture.inputs:
            yield from _portrait(fixture, case)
        yield _mask(fixture, case)
    for name in fixture.config["color_transfer"]:
        yield from _colours(fixture, name)


def _portrait(fixture: ReferenceFixture, case: dict[str, Any]) -> Iterator[PictureCase]:
    name, expected = case["name"], case["expected"]
    image = Image.fromarray(fixture.inputs[f"{name}.image_u8"])
    width, height = case["sample_size"]
    picture, placement = whole(image, (width, height), "preview", field="image")
    sides = np.array([placement.height, placement.width])
    yield PictureCase("size", name, sides, np.array([expected["height"], expected["width"]]), 0)
    yield PictureCase("portrait", name, picture, fixture.outputs[f"{name}.resized_u8"], 1)


def _mask(fixture: ReferenceFixture, case: dict[str, Any]) -> PictureCase:
    name, expected = case["name"], case["expected"]
    top, bottom, left, right, mask_height, mask_width = case["face_mask_npy"]
    scale = math.sqrt(expected["height"] * expected["width"] / (mask_height * mask_width))
    placement = Placement(expected["width"], expected["height"], scale)
    mask = face_mask(FaceBox(left, top, right, bottom), placement)
    return PictureCase("face mask", name, mask.ravel(), fixture.outputs[f"{name}.ip_mask"], 0)


def _colours(fixture: ReferenceFixture, name: str) -> Iterator[PictureCase]:
    pictures = to_pictures(fixture.inputs[f"{name}.frames01"][0])
    before = fixture.outputs[f"{name}.before_transfer_u8"]
    yield PictureCase("frames as bytes", name, pictures, before, 0)
    match = ColorMatcher()
    # In two pieces: the first picture of all is the one to match.
    saved = np.concatenate([match(pictures[:2]), match(pictures[2:])])
    theirs = fixture.outputs[f"{name}.saved_frames_u8"]
    yield PictureCase("frames with matched colours", name, saved, theirs, 2)
