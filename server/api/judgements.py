"""What there is to say of a portrait, as protobuf messages."""

from collections.abc import Sequence

import numpy as np
from echomimic.v1 import avatar_service_pb2 as pb
from numpy.typing import NDArray

from server.pictures.checks import Finding, Outcome
from server.pictures.face_finder import Box
from server.pictures.mesh import Eye, FaceMesh
from server.sessions.judging import Judgement

OUTCOMES = {
    Outcome.PASSED: pb.CHECK_OUTCOME_PASSED,
    Outcome.WARNING: pb.CHECK_OUTCOME_WARNING,
    Outcome.ERROR: pb.CHECK_OUTCOME_ERROR,
    Outcome.NOT_CHECKED: pb.CHECK_OUTCOME_NOT_CHECKED,
}


def judgement(found: Judgement) -> pb.CheckPortraitResponse:
    """Returns the answer to CheckPortrait."""
    width, height = found.size
    close = found.head_and_shoulders
    return pb.CheckPortraitResponse(
        usable=found.is_usable,
        checks=[_check(finding) for finding in found.findings],
        faces=[_face(mesh) for mesh in found.faces],
        size=pb.Size(width=width, height=height),
        shown=_box(found.shown),
        head_and_shoulders=None if close is None else _box(close),
    )


def _check(finding: Finding) -> pb.PortraitCheck:
    rule = finding.rule
    return pb.PortraitCheck(
        code=rule.code,
        outcome=OUTCOMES[finding.outcome],
        measured=finding.measured,
        threshold=rule.warning,
        is_minimum=rule.is_minimum,
        quantity=rule.quantity,
        advice=finding.advice,
    )


def _face(mesh: FaceMesh) -> pb.Face:
    return pb.Face(
        box=_box(mesh.box),
        score=mesh.score,
        points=_flat(mesh.points[:, :2]),
        eyes=[_eye(eye) for eye in mesh.eyes],
    )


def _eye(eye: Eye) -> pb.Eye:
    x, y = eye.iris.tolist()
    return pb.Eye(
        upper_lid=_flat(eye.upper_lid),
        lower_lid=_flat(eye.lower_lid),
        iris_x=x,
        iris_y=y,
        iris_radius=eye.iris_radius,
    )


def _flat(points: NDArray[np.float32]) -> Sequence[float]:
    return points.reshape(-1).tolist()


def _box(box: Box) -> pb.FaceBox:
    left, top, right, bottom = (round(side) for side in box)
    return pb.FaceBox(left=left, top=top, right=right, bottom=bottom)
