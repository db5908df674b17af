"""Who is to be animated: as a client sends it, or as an avatar that was prepared before."""

from collections.abc import Sequence
from dataclasses import dataclass

from server.errors import InvalidFieldError
from server.pictures.checks import Finding, Outcome
from server.pictures.face import FaceBox
from server.pictures.framing import Framing


@dataclass(frozen=True, slots=True)
class Sitter:
    """A portrait, and what is asked of it.

    Attributes:
        data: the file.
        field: what the client calls it.
        face_box: where the client says that the face is.
        framing: which part of it is to be shown.
        strict: whether warnings are errors.
    """

    data: bytes
    field: str
    face_box: FaceBox | None = None
    framing: Framing = Framing.FILL
    strict: bool = False

    def beside(self, name: str) -> str:
        """Returns what the client calls another field of the message that has the file."""
        return f"{self.field.removesuffix('image')}{name}"

    def refused(self, findings: Sequence[Finding]) -> InvalidFieldError | None:
        """Returns why a portrait is refused after some checks, if it is."""
        fatal = (Outcome.ERROR, Outcome.WARNING) if self.strict else (Outcome.ERROR,)
        problems = [found.notice for found in findings if found.outcome in fatal]
        if not problems:
            return None
        words = "; ".join(f"{each.reason}: {each.message}" for each in problems)
        return InvalidFieldError(self.field, words)


@dataclass(frozen=True, slots=True)
class Avatar:
    """A portrait that was prepared before; `server.sessions.avatars` keeps it.

    Attributes:
        avatar_id: names it, and cannot be guessed.
        owner: the name of the caller who created it.
        size: width and height in pixels of the frames that it is prepared for.
        created_s: when, in seconds since 1970.
    """

    avatar_id: str
    owner: str
    size: tuple[int, int]
    created_s: float
