"""What keeps still in a drawn face: background, clothes, hair, head, eyes, nose."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Color = tuple[int, int, int]
HairStyle = Literal["bald", "short", "long", "round"]

SIDE = 128
OVERSAMPLED = 4
MUTED = 0.8
"""How far the colours of walls and clothes are drawn towards grey."""

SKINS: tuple[Color, ...] = (
    (252, 224, 200),
    (243, 206, 172),
    (231, 184, 144),
    (208, 156, 114),
    (172, 118, 80),
    (138, 90, 60),
    (104, 68, 48),
)
HAIRS: tuple[Color, ...] = (
    (30, 24, 24),
    (70, 44, 28),
    (120, 76, 40),
    (196, 150, 80),
    (176, 70, 36),
    (186, 186, 190),
    (92, 52, 110),
)
EYES: tuple[Color, ...] = ((70, 44, 26), (60, 100, 160), (70, 120, 80), (40, 40, 44))


@dataclass(frozen=True, slots=True)
class Head:
    """A head and what surrounds it; lengths in pixels of SIDE, ``scale`` stretches the head."""

    x: float
    y: float
    scale: float
    half_width: float
    half_height: float
    skin: Color
    hair: Color
    hair_style: HairStyle
    fringe: float
    eyes: Color
    eye_distance: float
    brow_tilt: float
    glasses: bool
    clothes: Color
    collar: Color
    background: tuple[Color, Color]
    sun: tuple[float, float, float]
    """A disc on the wall: centre and radius."""

    @property
    def mouth_x(self) -> float:
        """Column of the middle of the mouth."""
        return self.x

    @property
    def mouth_y(self) -> float:
        """Row of the line between the closed lips."""
        return self.y + 17.5 * self.scale


def random_head(random: np.random.Generator) -> Head:
    """Draws a head out of a wide variety."""

    def color(low: int, high: int) -> Color:
        picked = random.uniform(low, high, 3)
        red, green, blue = (MUTED * picked.mean() + (1 - MUTED) * picked).astype(int).tolist()
        return red, green, blue

    wall = color(50, 220)
    styles: tuple[HairStyle, ...] = ("bald", "short", "long", "round")
    return Head(
        x=64 + random.uniform(-4, 4),
        y=57 + random.uniform(-4, 4),
        scale=random.uniform(0.94, 1.1),
        half_width=random.uniform(26, 31),
        half_height=random.uniform(38, 42),
        skin=jitter(SKINS[random.integers(len(SKINS))], random, 8),
        hair=jitter(HAIRS[random.integers(len(HAIRS))], random, 10),
        hair_style=styles[random.choice(4, p=[0.1, 0.35, 0.35, 0.2])],
        fringe=random.uniform(0.45, 0.7),
        eyes=EYES[random.integers(len(EYES))],
        eye_distance=random.uniform(11, 13.5),
        brow_tilt=random.uniform(-1.5, 0.4),
        glasses=bool(random.random() < 0.25),
        clothes=color(30, 220),
        collar=color(30, 240),
        background=(wall, jitter(wall, random, 15)),
        sun=(random.uniform(0, 128), random.uniform(0, 60), random.uniform(0, 30)),
    )


def jitter(color: Color, random: np.random.Generator, reach: int) -> Color:
    """Returns a colour near another."""
    red, green, blue = np.clip(np.add(color, random.integers(-reach, reach + 1, 3)), 0, 255)
    return int(red), int(green), int(blue)


def shade(color: Color, factor: float) -> Color:
    """Returns a darker or lighter colour."""
    red, green, blue = np.clip(np.multiply(color, factor), 0, 255).astype(int).tolist()
    return red, green, blue


def draw(head: Head, side: int) -> NDArray[np.uint8]:
    """Draws everything but the mouth, [side, side, 3]."""
    large = Image.fromarray(_wall(head, side * OVERSAMPLED))
    pen = _Pen(ImageDraw.Draw(large), head, side * OVERSAMPLED / SIDE)
    _behind(pen, head)
    _face(pen, head)
    _eyes(pen, head)
    return np.asarray(large.resize((side, side), Image.Resampling.BOX))


class _Pen:
    """Draws in pixels of SIDE, relative to the middle of the head and stretched with it."""

    def __init__(self, draw: ImageDraw.ImageDraw, head: Head, zoom: float) -> None:
        self._draw, self._zoom = draw, zoom
        self._x, self._y, self._scale = head.x, head.y, head.scale

    def ellipse(self, x: float, y: float, across: float, down: float, color: Color) -> None:
        """Fills an ellipse around a point."""
        self._draw.ellipse(self._box(x, y, across, down), fill=color)

    def ring(self, x: float, y: float, radius: float, thickness: float, color: Color) -> None:
        """Draws a circle."""
        width = round(thickness * self._scale * self._zoom)
        self._draw.ellipse(self._box(x, y, radius, radius), outline=color, width=width)

    def box(self, x: float, y: float, across: float, down: float, radius: float, color: Color):
        """Fills a rectangle with round corners around a point."""
        radius *= self._scale * self._zoom
        self._draw.rounded_rectangle(self._box(x, y, across, down), radius, fill=color)

    def cap(self, x: float, y: float, across: float, down: float, depth: float, color: Color):
        """Fills the top of an ellipse, down to ``depth`` below its uppermost point."""
        start = np.arcsin(np.clip(1 - depth / down, -1, 1))
        angles = np.linspace(start, np.pi - start, 60)
        edge = zip(x + across * np.cos(angles), y - down * np.sin(angles), strict=True)
        self._draw.polygon([self._point(*point) for point in edge], fill=color)

    def line(self, points: list[tuple[float, float]], thickness: float, color: Color) -> None:
        """Draws a line with round joints."""
        width = round(thickness * self._scale * self._zoom)
        self._draw.line([self._point(*point) for point in points], color, width, joint="curve")

    def _point(self, x: float, y: float) -> tuple[float, float]:
        return (
            (self._x + x * self._scale) * self._zoom,
            (self._y + y * self._scale) * self._zoom,
        )

    def _box(self, x: float, y: float, across: float, down: float):
        return (*self._point(x - across, y - down), *self._point(x + across, y + down))


def _wall(head: Head, side: int) -> NDArray[np.uint8]:
    top, bottom = np.array(head.background, np.float32)
    share = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    wall = np.repeat(top + share * (bottom - top), side, axis=1)
    rows, columns = (np.indices((side, side)) + 0.5) * SIDE / side
    x, y, radius = head.sun
    distance = np.hypot(columns - x, rows - y)
    wall += 18 * np.clip(radius - distance, 0, 1)[..., None]
    return np.clip(wall, 0, 255).astype(np.uint8)


def _behind(pen: _Pen, head: Head) -> None:
    """Draws long hair, shoulders and neck."""
    across, down = head.half_width, head.half_height
    if head.hair_style == "long":
        pen.box(0, 8, across + 7, down + 10, across, head.hair)
    pen.ellipse(0, 92, 56, 40, head.clothes)
    pen.ellipse(0, 56, 17, 9, head.collar)
    pen.box(0, 42, 11, 18, 8, shade(head.skin, 0.86))


def _face(pen: _Pen, head: Head) -> None:
    across, down = head.half_width, head.half_height
    if head.hair_style == "round":
        pen.ellipse(0, -14, across + 9, down - 6, head.hair)
    if head.hair_style == "short":
        pen.ellipse(0, -7, across + 3, down, head.hair)
    for side in (-1, 1):
        pen.ellipse(side * across, 1, 5, 7.5, shade(head.skin, 0.93))
    pen.ellipse(0, 0, across, down, head.skin)
    if head.hair_style != "bald":
        pen.cap(0, -1, across + 1, down + 1, head.fringe * down, head.hair)
    pen.line([(0, -2), (-2.5, 7), (1.5, 8)], 1.3, shade(head.skin, 0.78))


def _eyes(pen: _Pen, head: Head) -> None:
    for side in (-1, 1):
        x = side * head.eye_distance
        pen.ellipse(x, -5, 5.6, 4, (250, 250, 250))
        pen.ellipse(x, -5, 3, 3.4, head.eyes)
        pen.ellipse(x, -5, 1.5, 1.7, (12, 12, 14))
        ends = [(x - side * 5.5, -12 + head.brow_tilt), (x + side * 5.5, -12 - head.brow_tilt)]
        pen.line(ends, 2, shade(head.hair, 0.8))
        if head.glasses:
            pen.ring(x, -5, 9, 1.4, (36, 36, 42))
    if head.glasses:
        inner = head.eye_distance - 9
        pen.line([(-inner, -6), (inner, -6)], 1.4, (36, 36, 42))
