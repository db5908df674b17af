"""A portrait looked at, beside what else is prepared: which part is shown, and what it lacks."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from PIL import Image

from server.errors import EngineUnavailableError, ExecutionError, InvalidFieldError
from server.notices import Notice
from server.pictures.checks import Finding, Look, Outcome, check
from server.pictures.face_finder import Box
from server.pictures.framing import Framing, shown_part
from server.pictures.mesh import FaceMesh, find_meshes, has_mesh
from server.pictures.portrait import read_portrait
from server.sessions.jobs import Offer
from server.sessions.sitter import Sitter
from server.triton.engine import Engine, Priority

log = structlog.get_logger()


class Judging:
    """Looks for the faces in a portrait once, and judges it once."""

    def __init__(self, engine: Engine, offer: Offer, sitter: Sitter, image: Image.Image) -> None:
        """Begins with nothing looked at.

        Args:
            engine: runs the networks, if the repository has them.
            offer: tells whether it does.
            sitter: what the client sent.
            image: its portrait, decoded.
        """
        self._engine = engine
        self._has_mesh = has_mesh(frozenset(offer.manifest.networks))
        self._sitter = sitter
        self._image: Image.Image | None = image
        self._looked = False
        self._faces: tuple[FaceMesh, ...] | None = None
        self._findings: Sequence[Finding] | None = None

    async def faces(self, priority: Priority = Priority.NORMAL) -> tuple[FaceMesh, ...] | None:
        """Returns the faces, the largest first; None where they cannot be looked for.

        Raises:
            EngineUnavailableError, ExecutionError: a network cannot be run now, and what the client
                asks for needs it.
        """
        if self._has_mesh and not self._looked and self._image is not None:
            self._looked = True
            pixels = np.asarray(self._image)
            try:
                self._faces = await find_meshes(self._engine, pixels, priority)
            except (EngineUnavailableError, ExecutionError) as error:
                if self._sitter.strict or self._sitter.framing is not Framing.FILL:
                    raise
                # Nobody who speaks with a face is to be silenced by who looks at it.
                log.warning("a portrait is not looked at", problem=str(error))
        return self._faces

    async def shown(self, frame_px: tuple[int, int]) -> tuple[Box, bool]:
        """Returns the part that frames show, and whether a face decides about it.

        Faces are looked for only where they may matter for it.

        Raises:
            InvalidFieldError: a face is needed, and there is none.
            EngineUnavailableError, ExecutionError: as `faces`.
        """
        assert self._image is not None, "what is shown is asked for before it is judged"
        (width, height), sitter = self._image.size, self._sitter
        face: Box | None = None
        if sitter.framing is not Framing.FILL or width * frame_px[1] != height * frame_px[0]:
            face = await self._face_box()
        if face is None and sitter.framing is not Framing.FILL:
            raise InvalidFieldError(sitter.beside("framing"), self._lack())
        return shown_part((width, height), frame_px, face, sitter.framing), face is not None

    async def findings(self, shown: Box) -> Sequence[Finding]:
        """Returns what came of each check; after the first time the portrait is forgotten.

        Args:
            shown: the part that frames show.

        Raises:
            EngineUnavailableError, ExecutionError: as `faces`.
        """
        if self._findings is None:
            faces = await self.faces()
            image, self._image = self._image, None
            assert image is not None, "it is forgotten once it is judged"
            self._findings = await asyncio.to_thread(check, Look(image, shown, faces))
        return self._findings

    async def notices(self, shown: Box, told: Collection[str] = ()) -> Sequence[Notice]:
        """Returns what a client is to be told, but for what it has been.

        Args:
            shown: the part that frames show.
            told: codes.

        Raises:
            InvalidFieldError: the portrait is refused.
            EngineUnavailableError, ExecutionError: as `faces`.
        """
        findings = await self.findings(shown)
        if refusal := self._sitter.refused(findings):
            raise refusal
        warnings = [found.notice for found in findings if found.outcome is Outcome.WARNING]
        return [notice for notice in warnings if notice.reason not in told]

    async def _face_box(self) -> Box | None:
        if faces := await self.faces(Priority.FIRST_FRAME):
            return faces[0].box
        box, framing = self._sitter.face_box, self._sitter.framing
        return (
            None
            if box is None or framing is Framing.FILL
            else (box.left, box.top, box.right, box.bottom)
        )

    def _lack(self) -> str:
        if self._has_mesh:
            return "needs a face, and none was found; send the portrait cropped, and leave it out"
        return "needs networks that this server's models lack; leave it out, or export them again"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What there is to say of a portrait.

    Attributes:
        size: width and height as displayed.
        faces: the largest first.
        shown: the part that frames show.
        head_and_shoulders: the part that the framing of that name shows, if there is a face.
        findings: what came of each check.
        is_usable: whether a stream takes it.
    """

    size: tuple[int, int]
    faces: tuple[FaceMesh, ...]
    shown: Box
    head_and_shoulders: Box | None
    findings: Sequence[Finding]
    is_usable: bool


async def judge(
    engine: Engine, offer: Offer, sitter: Sitter, frame_px: tuple[int, int]
) -> Judgement:
    """Looks at a portrait, and animates nothing.

    Raises:
        InvalidFieldError: it is no usable picture, or a face is needed and there is none.
        EngineUnavailableError, ExecutionError: a network cannot be run now.
    """
    portrait = await asyncio.to_thread(
        read_portrait,
        sitter.data,
        max_pixels=offer.settings.max_portrait_pixels,
        field=sitter.field,
    )
    image = portrait.image
    judging = Judging(engine, offer, sitter, image)
    faces = await judging.faces() or ()
    shown, _ = await judging.shown(frame_px)
    close = Framing.HEAD_AND_SHOULDERS
    findings = await judging.findings(shown)
    return Judgement(
        size=image.size,
        faces=faces,
        shown=shown,
        head_and_shoulders=shown_part(image.size, frame_px, faces[0].box, close) if faces else None,
        findings=findings,
        is_usable=sitter.refused(findings) is None,
    )
