"""Good portraits made bad, each in a way that a check is to find."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from server.pictures.face_view import INNER_LIPS, MOUTH_CORNERS
from server.pictures.mesh import Eye, FaceMesh
from server.pictures.patch import Patch
from tests.support.turned import turned

Degrade = Callable[[Image.Image, FaceMesh], Image.Image]
GAMMA = 2.2
CHEEKS = [50, 280]
"""Points of the mesh."""


def _exposed(stops: float) -> Degrade:
    """Changes the light by so many stops: each doubles it."""

    def degrade(image: Image.Image, _: FaceMesh) -> Image.Image:
        return _lit(image, np.float32(2**stops))

    return degrade


def _lit(image: Image.Image, light: NDArray[np.float32] | np.float32) -> Image.Image:
    linear = (np.asarray(image, np.float32) / 255) ** GAMMA * light
    return Image.fromarray((255 * np.clip(linear, 0, 1) ** (1 / GAMMA)).round().astype(np.uint8))


def _lit_from_a_side(image: Image.Image, mesh: FaceMesh) -> Image.Image:
    left, _, right, _ = mesh.box
    x = (np.arange(image.width) - (left + right) / 2) / (0.08 * (right - left))
    light = 0.1 + 0.9 / (1 + np.exp(-np.clip(x, -50, 50)))
    return _lit(image, light.astype(np.float32)[None, :, None])


def _blurred(image: Image.Image, mesh: FaceMesh) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(0.02 * (mesh.box[3] - mesh.box[1])))


def _tilted(image: Image.Image, mesh: FaceMesh) -> Image.Image:
    left, top, right, bottom = mesh.box
    middle = ((left + right) / 2, (top + bottom) / 2)
    return image.rotate(-28, Image.Resampling.BICUBIC, center=middle)


def _turned(degrees: float) -> Degrade:
    return lambda image, mesh: turned(image, mesh, degrees)


def _sideways(image: Image.Image, _: FaceMesh) -> Image.Image:
    return image.transpose(Image.Transpose.ROTATE_90)


def _reflecting(image: Image.Image, mesh: FaceMesh) -> Image.Image:
    seen = image.copy()
    draw = ImageDraw.Draw(seen, "RGBA")
    for eye in mesh.eyes:
        x, y = eye.iris
        length = _length(eye)
        reach_x, reach_y = 0.55 * length, 0.4 * length
        draw.ellipse((x - reach_x, y - reach_y, x + reach_x, y + reach_y), (255, 255, 255, 245))
    return seen


def _asleep(image: Image.Image, mesh: FaceMesh) -> Image.Image:
    """Paints a lid over each eye, in the colour of the cheeks, with lashes."""
    seen = image.copy()
    draw = ImageDraw.Draw(seen)
    side = 0.08 * (mesh.box[3] - mesh.box[1])
    cheeks = [Patch(x, y, side).seen(image, 8) for x, y in mesh.points[CHEEKS, :2]]
    skin = tuple(np.median(cheeks, axis=(0, 1, 2)).astype(int).tolist())
    for eye in mesh.eyes:
        middle, length = eye.upper_lid[[0, -1]].mean(0), _length(eye)
        along = (eye.upper_lid[-1] - eye.upper_lid[0]) / length
        below = np.array([-along[1], along[0]]) * np.sign(along[0])
        reach_x, reach_y = 0.62 * length, 0.5 * length
        box = (middle[0] - reach_x, middle[1] - reach_y, middle[0] + reach_x, middle[1] + reach_y)
        draw.ellipse(tuple(box), skin)
        lid = [tuple(point + 0.12 * length * below) for point in eye.lower_lid]
        draw.line(lid, (50, 35, 30), max(2, round(0.07 * length)))
    return seen


def _shouting(image: Image.Image, mesh: FaceMesh) -> Image.Image:
    """Paints an open mouth over the lips."""
    seen = image.copy()
    draw = ImageDraw.Draw(seen)
    left, right = mesh.points[list(MOUTH_CORNERS), :2]
    x, y = mesh.points[list(INNER_LIPS), :2].mean(0)
    width = float(np.linalg.norm(right - left))
    y += 0.2 * width
    for reach, colour in ((0.55, (170, 70, 75)), (0.45, (40, 10, 14))):
        box = (x - reach * width, y - reach * width, x + reach * width, y + reach * width)
        draw.ellipse(box, colour)
    return seen


def _length(eye: Eye) -> float:
    return float(np.linalg.norm(eye.upper_lid[0] - eye.upper_lid[-1]))


def _crop(left: float, top: float, right: float, bottom: float) -> Degrade:
    """Crops to a part in lengths of the face's box: 0 is its left or top, 1 its right or bottom."""

    def degrade(image: Image.Image, mesh: FaceMesh) -> Image.Image:
        x, y, x_end, y_end = mesh.box
        width, height = x_end - x, y_end - y
        kept = image.crop(
            (
                max(0, round(x + left * width)),
                max(0, round(y + top * height)),
                min(image.width, round(x + right * width)),
                min(image.height, round(y + bottom * height)),
            )
        )
        return kept.resize(_enlarged(kept.size), Image.Resampling.LANCZOS)

    return degrade


def _enlarged(size: tuple[int, int]) -> tuple[int, int]:
    """Returns sides of at least 512 pixels: what is bad is to be the crop alone."""
    width, height = size
    scale = max(1.0, 512 / min(width, height))
    return round(width * scale), round(height * scale)


def _far_away(image: Image.Image, mesh: FaceMesh) -> Image.Image:
    """Puts the portrait into a wide grey wall, its face an eighth of the wall high."""
    scale = 0.13 * 1024 / (mesh.box[3] - mesh.box[1])
    small = image.resize((round(image.width * scale), round(image.height * scale)))
    wall = Image.new("RGB", (1024, 1024), (128, 128, 128))
    wall.paste(small, ((1024 - small.width) // 2, (1024 - small.height) // 2))
    return wall


def _twice(image: Image.Image, _: FaceMesh) -> Image.Image:
    both = Image.new("RGB", (2 * image.width, image.height))
    both.paste(image, (0, 0))
    both.paste(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (image.width, 0))
    return both


def _faceless(image: Image.Image, mesh: FaceMesh) -> Image.Image:
    """Covers the face with pieces of itself."""
    left, top, right, bottom = (round(side) for side in mesh.box)
    side = max(right - left, bottom - top)
    patch = Patch((left + right) / 2, (top + bottom) / 2, side * 1.4)
    tiles = patch.seen(image, 16)
    shuffled = np.random.default_rng(0).permutation(tiles.reshape(-1, 3)).reshape(tiles.shape)
    cover_px = round(side * 1.4)
    cover = Image.fromarray(shuffled).resize((cover_px, cover_px))
    seen = image.copy()
    seen.paste(cover, (round(patch.x - side * 0.7), round(patch.y - side * 0.7)))
    return seen


def _small(image: Image.Image, _: FaceMesh) -> Image.Image:
    return image.resize(
        (image.width * 300 // min(image.size), image.height * 300 // min(image.size))
    )


DEGRADED: Mapping[str, tuple[str, Degrade]] = {
    "no face": ("FACE_NOT_FOUND", _faceless),
    "two people": ("SEVERAL_FACES", _twice),
    "far away": ("FACE_SMALL", _far_away),
    "cut at the brow": ("FACE_CUT_OFF", _crop(-1.5, 0.3, 2.5, 2.5)),
    "cut at a side": ("FACE_CUT_OFF", _crop(0.3, -1, 3, 2.5)),
    "no shoulders": ("NOT_HEAD_AND_SHOULDERS", _crop(-0.4, -0.6, 1.4, 1.12)),
    "turned left": ("FACE_TURNED", _turned(40)),
    "turned right": ("FACE_TURNED", _turned(-40)),
    "tilted": ("FACE_TILTED", _tilted),
    "lying on a side": ("FACE_TILTED", _sideways),
    "eyes closed": ("EYES_CLOSED", _asleep),
    "mouth open": ("MOUTH_OPEN", _shouting),
    "dark": ("TOO_DARK", _exposed(-3.2)),
    "bright": ("TOO_BRIGHT", _exposed(2.2)),
    "lit from a side": ("UNEVEN_LIGHT", _lit_from_a_side),
    "blurred": ("BLURRED", _blurred),
    "glare": ("GLARE", _reflecting),
    "small": ("PORTRAIT_SMALL", _small),
}
"""What is wrong, in words: the code of the check that is to find it, and how it is made."""
