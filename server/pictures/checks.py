"""What could be better about a portrait: one table of measures, thresholds and advice.

Photographs and drawings are measured alike. What is wrong for certain is an error; what only may
be, as a face that is not found in a drawing, is a warning.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np
from PIL import Image

from server.arrays import FloatArray
from server.notices import Notice
from server.pictures.face_finder import Box
from server.pictures.face_view import LUMA, SIDE_PX, FaceView
from server.pictures.mesh import FaceMesh
from server.pictures.portrait import RECOMMENDED_SIDE_PX

COMPARABLE = 0.4
"""Faces of so many heights of the largest one count as further ones."""
BURNT_OUT = 235
"""Brighter skin has lost its shades."""
GLARING, BRIGHTER_THAN_SKIN, WHITE = 180, 35, 235
"""How bright an iris is under a reflection: that, and so much more than the skin, or white."""
HIDDEN = 0.2
"""Share of an iris under a reflection from which on the eye is not seen."""


NOT_CHECKED = (
    "not checked: there is no face to look at, or the server's models were exported without a mesh"
)


class Outcome(Enum):
    """What came of a check."""

    PASSED = "passed"
    WARNING = "warning"
    ERROR = "error"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Look:
    """What a portrait is judged by.

    Attributes:
        image: the portrait, RGB.
        shown: the part of it that frames show.
        faces: the largest first; None where nothing looks for them.
    """

    image: Image.Image
    shown: Box
    faces: Sequence[FaceMesh] | None

    @cached_property
    def view(self) -> FaceView | None:
        """The face that is judged."""
        return FaceView(self.image, self.faces[0]) if self.faces else None

    @cached_property
    def luma(self) -> FloatArray:
        """How bright the whole portrait is, pixel by pixel of a small copy."""
        small = self.image.copy()
        small.thumbnail((SIDE_PX, SIDE_PX))
        return np.asarray(small, np.float32) @ LUMA


@dataclass(frozen=True, slots=True)
class Rule:
    """A check.

    Attributes:
        code: to compare with.
        quantity: what is measured, with its unit.
        measure: returns it, or None where it cannot be measured.
        warning: beyond that it is a warning.
        advice: what to do then.
        error: beyond that it is an error; None for never.
        is_minimum: whether less than the thresholds is too little.
    """

    code: str
    quantity: str
    measure: Callable[[Look], float | None]
    warning: float
    advice: str
    error: float | None = None
    is_minimum: bool = False

    def beyond(self, value: float, threshold: float | None) -> bool:
        """Tells whether a value is beyond one of the thresholds."""
        if threshold is None:
            return False
        return value < threshold if self.is_minimum else value > threshold


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a check: its rule, the outcome, and what was measured if anything was."""

    rule: Rule
    outcome: Outcome
    measured: float | None

    @property
    def advice(self) -> str:
        """What to do about it."""
        if self.outcome is Outcome.NOT_CHECKED:
            return NOT_CHECKED
        return "" if self.outcome is Outcome.PASSED else self.rule.advice

    @property
    def notice(self) -> Notice:
        """What a client is told of it."""
        rule = self.rule
        word = "at least" if rule.is_minimum else "at most"
        return Notice(
            rule.code,
            f"{rule.advice} ({rule.quantity}: {self.measured:.3g}, {word} {rule.warning:g})",
        )


def check(look: Look) -> list[Finding]:
    """Checks a portrait by every rule, in the order of the table."""
    return [_finding(rule, look) for rule in RULES]


def _finding(rule: Rule, look: Look) -> Finding:
    value = rule.measure(look)
    if value is None:
        return Finding(rule, Outcome.NOT_CHECKED, None)
    if rule.beyond(value, rule.error):
        return Finding(rule, Outcome.ERROR, value)
    if rule.beyond(value, rule.warning):
        return Finding(rule, Outcome.WARNING, value)
    return Finding(rule, Outcome.PASSED, value)


def _of_face(measure: Callable[[FaceView], float | None]) -> Callable[[Look], float | None]:
    """Returns a measure of what needs a face."""
    return lambda look: None if look.view is None else measure(look.view)


def _faces(look: Look) -> float | None:
    return None if look.faces is None else float(bool(look.faces))


def _comparable_faces(look: Look) -> float | None:
    if not look.faces:
        return None
    heights = [face.box[3] - face.box[1] for face in look.faces]
    return float(sum(height >= COMPARABLE * heights[0] for height in heights))


def _share_of_frame(look: Look) -> float | None:
    if look.view is None:
        return None
    left, top, right, bottom = look.shown
    _, upper, _, lower = look.view.mesh.box
    return (lower - upper) / min(right - left, bottom - top)


def _cut_off(look: Look) -> float | None:
    if look.view is None:
        return None
    left, top, right, bottom = look.shown
    x, y = look.view.mesh.points[:, 0], look.view.mesh.points[:, 1]
    width, height = look.image.size
    outside = (x < max(0, left)) | (x > min(width, right))
    outside |= (y < max(0, top)) | (y > min(height, bottom))
    return float(outside.mean())


def _below_chin(look: Look) -> float | None:
    if look.view is None:
        return None
    _, top, _, bottom = look.view.mesh.box
    return (min(look.shown[3], look.image.height) - bottom) / (bottom - top)


def _bright_parts(look: Look) -> float:
    view = look.view
    seen = look.luma if view is None or not view.face.any() else view.luma[view.face]
    return float(np.percentile(seen, 95))


def _burnt_out(view: FaceView) -> float | None:
    return float((view.luma[view.skin] >= BURNT_OUT).mean()) if view.skin.any() else None


def _evenness(view: FaceView) -> float | None:
    left, right = view.halves
    if not left.size or not right.size:
        return None
    low, high = sorted(float(np.median(half)) for half in (left, right))
    return low / max(high, 1.0)


def _sharpness(view: FaceView) -> float | None:
    if not view.face.any():
        return None
    down, across = np.gradient(view.luma)
    slopes = np.hypot(down, across)[view.face]
    darkest, brightest = np.percentile(view.luma[view.face], (0.2, 99.8))
    return float(np.percentile(slopes, 99) / max(brightest - darkest, 1.0))


def _glare(view: FaceView) -> float | None:
    if not view.skin.any():
        return None
    bright = max(GLARING, float(np.median(view.luma[view.skin])) + BRIGHTER_THAN_SKIN)
    return max(float((iris > min(bright, WHITE)).mean()) for iris in view.irises())


def _openness(view: FaceView) -> float | None:
    if (_glare(view) or 0) > HIDDEN:
        return None
    return sum(eye.openness for eye in view.mesh.eyes) / len(view.mesh.eyes)


RULES = (
    Rule(
        "FACE_NOT_FOUND",
        "faces",
        _faces,
        warning=1,
        is_minimum=True,
        advice="no face was found: send a portrait whose face is turned to the viewer and fills at "
        "least an eighth of it; what is drawn may speak nevertheless",
    ),
    Rule(
        "SEVERAL_FACES",
        "faces of about the largest one's size",
        _comparable_faces,
        warning=1,
        advice="there are several faces: crop the portrait to one person",
    ),
    Rule(
        "FACE_SMALL",
        "height of the face, as a share of the frame's shorter side",
        _share_of_frame,
        warning=0.18,
        is_minimum=True,
        advice="the face is small: crop the portrait closer, or ask for the framing "
        "HEAD_AND_SHOULDERS",
    ),
    Rule(
        "FACE_CUT_OFF",
        "share of the face beyond the border",
        _cut_off,
        warning=0.02,
        error=0.4,
        advice="the face is cut off: send a portrait that shows the whole head",
    ),
    Rule(
        "NOT_HEAD_AND_SHOULDERS",
        "what is shown below the chin, in heights of the face",
        _below_chin,
        warning=0.3,
        is_minimum=True,
        advice="no shoulders are seen: send a portrait that shows more below the chin",
    ),
    Rule(
        "FACE_TURNED",
        "degrees that the face is turned away, to a side, up or down",
        _of_face(lambda view: view.turn_degrees),
        warning=25,
        advice="the face is turned away: send one that looks at the viewer",
    ),
    Rule(
        "FACE_TILTED",
        "degrees that the head is tilted",
        _of_face(lambda view: abs(view.roll_degrees)),
        warning=15,
        error=60,
        advice="the head is tilted: turn the picture upright",
    ),
    Rule(
        "EYES_CLOSED",
        "how far the lids are apart, in lengths of the eye",
        _of_face(_openness),
        warning=0.16,
        is_minimum=True,
        advice="the eyes are closed: send a portrait with open eyes",
    ),
    Rule(
        "MOUTH_OPEN",
        "how far the lips are apart, in widths of the mouth",
        _of_face(lambda view: view.mouth_openness),
        warning=0.25,
        advice="the mouth is open: send a portrait with closed lips",
    ),
    Rule(
        "TOO_DARK",
        "how bright the bright parts of the face are, 0 to 255",
        _bright_parts,
        warning=90,
        error=12,
        is_minimum=True,
        advice="the portrait is too dark: take it in more light",
    ),
    Rule(
        "TOO_BRIGHT",
        "share of the skin that is burnt out",
        _of_face(_burnt_out),
        warning=0.15,
        advice="the portrait is too bright: take it in less light, or with a shorter exposure",
    ),
    Rule(
        "UNEVEN_LIGHT",
        "how bright the darker half of the face is against the other",
        _of_face(_evenness),
        warning=0.6,
        is_minimum=True,
        advice="the light comes from one side: take the portrait in even light",
    ),
    Rule(
        "BLURRED",
        "steepest edges of the face, in its contrasts a 256th of its height",
        _of_face(_sharpness),
        warning=0.1,
        is_minimum=True,
        advice="the face is blurred: send a sharp portrait",
    ),
    Rule(
        "GLARE",
        "share of an iris under a reflection",
        _of_face(_glare),
        warning=HIDDEN,
        advice="reflections hide the eyes: take glasses off, or move the light",
    ),
    Rule(
        "PORTRAIT_SMALL",
        "shorter side in pixels",
        lambda look: float(min(look.image.size)),
        warning=RECOMMENDED_SIDE_PX,
        is_minimum=True,
        advice=f"the portrait is small: at least {RECOMMENDED_SIDE_PX} x {RECOMMENDED_SIDE_PX} "
        "pixels look better",
    ),
)
"""Every check."""
