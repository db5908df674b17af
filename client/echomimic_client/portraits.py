"""What a server says of a portrait. Places are in pixels of the portrait as displayed."""

from dataclasses import dataclass
from typing import Literal

from echomimic.v1 import avatar_service_pb2 as pb

from echomimic_client.choices import FaceBox

Outcome = Literal["passed", "warning", "error", "not_checked"]
Point = tuple[float, float]

_OUTCOMES: dict[int, Outcome] = {
    pb.CHECK_OUTCOME_PASSED: "passed",
    pb.CHECK_OUTCOME_WARNING: "warning",
    pb.CHECK_OUTCOME_ERROR: "error",
}


@dataclass(frozen=True)
class PortraitCheck:
    """One check; ``measured`` is None if it was not made."""

    code: str
    outcome: Outcome
    measured: float | None
    threshold: float
    """Beyond what it is a warning."""
    is_minimum: bool
    """Whether less than the threshold is too little, rather than more too much."""
    quantity: str
    """What is measured, with its unit."""
    advice: str
    """What to do about it."""

    def __str__(self) -> str:
        """Says it in a line."""
        if self.measured is None:
            return f"{self.outcome}: {self.code}"
        word = "at least" if self.is_minimum else "at most"
        said = f"{self.outcome}: {self.code} {self.measured:.3g}, {word} {self.threshold:g}"
        return f"{said}; {self.advice}" if self.advice else said


@dataclass(frozen=True)
class Face:
    """A face: its box, 468 points of MediaPipe's canonical face, the edges of its lids."""

    box: FaceBox
    score: float
    points: tuple[Point, ...]
    lids: tuple[tuple[Point, ...], ...]


@dataclass(frozen=True)
class PortraitReport:
    """What could be better about a portrait; see the contract's CheckPortraitResponse."""

    usable: bool
    checks: tuple[PortraitCheck, ...]
    faces: tuple[Face, ...]
    size: tuple[int, int]
    shown: FaceBox
    head_and_shoulders: FaceBox | None


def read_report(message: pb.CheckPortraitResponse) -> PortraitReport:
    """Reads the answer to CheckPortrait."""
    close = _box(message.head_and_shoulders) if message.HasField("head_and_shoulders") else None
    return PortraitReport(
        usable=message.usable,
        checks=tuple(map(_check, message.checks)),
        faces=tuple(map(_face, message.faces)),
        size=(message.size.width, message.size.height),
        shown=_box(message.shown),
        head_and_shoulders=close,
    )


def _check(message: pb.PortraitCheck) -> PortraitCheck:
    return PortraitCheck(
        code=message.code,
        outcome=_OUTCOMES.get(message.outcome, "not_checked"),
        measured=message.measured if message.HasField("measured") else None,
        threshold=message.threshold,
        is_minimum=message.is_minimum,
        quantity=message.quantity,
        advice=message.advice,
    )


def _face(message: pb.Face) -> Face:
    lids = [lid for eye in message.eyes for lid in (eye.upper_lid, eye.lower_lid)]
    return Face(
        _box(message.box),
        message.score,
        _points(list(message.points)),
        tuple(_points(list(lid)) for lid in lids),
    )


def _points(values: list[float]) -> tuple[Point, ...]:
    return tuple(zip(values[::2], values[1::2], strict=True))


def _box(message: pb.FaceBox) -> FaceBox:
    return FaceBox(message.left, message.top, message.right, message.bottom)
