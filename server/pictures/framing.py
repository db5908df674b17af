"""Which part of a portrait is shown in frames of another shape, so that no head is cut off."""

from enum import Enum

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from server.pictures.face_finder import Box
from server.pictures.portrait import Picture, Placement

HAIR, CHIN, SIDES = 0.45, 0.1, 0.25
"""How far a head reaches beyond its mesh: up, down and to each side, in the mesh's lengths."""
FACES_HIGH, FACE_AT = 2.4, 0.46
"""Head and shoulders: how many faces high, and how far down the middle of the face is."""
BACKGROUND_BLUR = 0.05
"""Of what fills a frame up, in lengths of the frame."""


class Framing(Enum):
    """How the part that is shown is chosen."""

    FILL = "as much as has the frame's shape"
    HEAD_AND_SHOULDERS = "head and shoulders"


def head_of(face: Box, portrait_px: tuple[int, int]) -> Box:
    """Returns the box of a whole head, hair and all, as far as it is in the portrait.

    Args:
        face: the box of its mesh.
        portrait_px: width and height of the portrait.
    """
    left, top, right, bottom = face
    width, height = right - left, bottom - top
    return (
        max(0.0, left - SIDES * width),
        max(0.0, top - HAIR * height),
        min(float(portrait_px[0]), right + SIDES * width),
        min(float(portrait_px[1]), bottom + CHIN * height),
    )


def shown_part(
    portrait_px: tuple[int, int], frame_px: tuple[int, int], face: Box | None, framing: Framing
) -> Box:
    """Returns the part of a portrait that frames show: left, top, right, bottom.

    It has the frames' shape, and reaches beyond the portrait where a head is too long for what has
    that shape.

    Args:
        portrait_px: width and height of the portrait.
        frame_px: width and height of the frames.
        face: the box of the mesh of the head that is to be seen; without one it is the middle.
        framing: how it is chosen.
    """
    fit = min(portrait_px[0] / frame_px[0], portrait_px[1] / frame_px[1])
    width, height = fit * frame_px[0], fit * frame_px[1]
    if face is None:
        left, top = (portrait_px[0] - width) / 2, (portrait_px[1] - height) / 2
        return left, top, left + width, top + height
    head = head_of(face, portrait_px)
    if framing is Framing.HEAD_AND_SHOULDERS:
        wanted = max(FACES_HIGH * (face[3] - face[1]) / height, (head[2] - head[0]) / width)
        if wanted < 1:
            return _around_head(portrait_px, (width * wanted, height * wanted), face)
    grow = max(1.0, (head[2] - head[0]) / width, (head[3] - head[1]) / height)
    left = _start(portrait_px[0], width * grow, head[0], head[2])
    top = _start(portrait_px[1], height * grow, head[1], head[3])
    return left, top, left + width * grow, top + height * grow


def _start(length: float, part: float, first: float, last: float) -> float:
    """Returns where a part of a length begins: in the middle, or as near to it as shows a head."""
    middle = (length - part) / 2
    return middle if part >= length else min(max(middle, last - part), first)


def _around_head(portrait_px: tuple[int, int], part: tuple[float, float], face: Box) -> Box:
    left, top, right, bottom = face
    width, height = part
    x = min(max((left + right - width) / 2, 0.0), portrait_px[0] - width)
    y = min(max((top + bottom) / 2 - FACE_AT * height, 0.0), portrait_px[1] - height)
    return x, y, x + width, y + height


def framed(image: Image.Image, shown: Box, frame_px: tuple[int, int]) -> tuple[Picture, Placement]:
    """Resizes a part of a portrait to a frame; what lies beyond the portrait is filled up.

    Returns:
        The picture [height, width, 3], and where the portrait lies in it.
    """
    left, top, right, _ = shown
    width, height = frame_px
    scale = width / (right - left)
    placement = Placement(width, height, scale, left * scale, top * scale)
    inside = (max(0.0, left), max(0.0, top), *_lower_right(image, shown))
    begin = [round(each) for each in placement.point(*inside[:2])]
    end = [round(each) for each in placement.point(*inside[2:])]
    part = image.resize(
        (end[0] - begin[0], end[1] - begin[1]), Image.Resampling.LANCZOS, box=inside
    )
    if part.size == frame_px:
        return np.asarray(part), placement
    picture = ImageOps.fit(image, frame_px, Image.Resampling.BILINEAR)
    picture = picture.filter(ImageFilter.GaussianBlur(BACKGROUND_BLUR * max(frame_px)))
    picture.paste(part, (begin[0], begin[1]))
    return np.asarray(picture), placement


def _lower_right(image: Image.Image, shown: Box) -> tuple[float, float]:
    return min(float(image.width), shown[2]), min(float(image.height), shown[3])
