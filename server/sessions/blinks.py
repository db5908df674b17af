"""Blinks over speech, where the model forgets to blink.

frames of a window -> their eyes are looked at -> is a blink due? -> lids are drawn over its frames

They are laid over what is shown: the model is told its own pictures. A frame that no blink covers
is the picture that the model made.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, TypeVar

import structlog

from server.animation.blink_schedule import BlinkSchedule, Course, LastBlink
from server.animation.eye_warp import can_move
from server.animation.lid_warp import with_lids
from server.errors import EngineUnavailableError, ExecutionError
from server.notices import Notice
from server.pictures.mesh import FaceMesh
from server.pictures.portrait import Picture
from server.sessions.events import Blink
from server.sessions.eye_watch import EyeWatch
from server.sessions.idle import INTO_SPEECH_S
from server.triton.engine import Engine

LOOK_EVERY_S = 0.12
"""Eyes are looked at so often: the lids of a blink are down for longer."""
FACE_NOT_FOUND = Notice(
    "BLINK_FACE_NOT_FOUND",
    "no face was found in the frames of speech, so no blinks are laid over them; send a portrait "
    "in which a face is to be seen",
)
EYES_NOT_MOVED = Notice(
    "BLINK_EYES_NOT_MOVED",
    "the eyes are larger than people's, so no blinks are laid over speech",
)
NOT_LOOKED = Notice(
    "BLINK_MESH_FAILED",
    "the eyes cannot be looked at now, so no blinks are laid over speech until the next utterance",
)

log = structlog.get_logger()
T = TypeVar("T")


class Shown(NamedTuple):
    """A frame as it is shown, and the blink in it, if there is one."""

    picture: Picture
    blink: Blink | None = None


class Blinks:
    """Lays blinks over the frames of a conversation's speech."""

    def __init__(
        self,
        engine: Engine,
        seed: int,
        frame_rate: Fraction,
        last: LastBlink,
        tell: Callable[[Notice], None],
    ) -> None:
        """Begins before the first utterance.

        Args:
            engine: runs the networks of faces.
            seed: of the moments.
            frame_rate: of the frames that are shown.
            last: of the blinks that have been shown.
            tell: told once why there are none.
        """
        self._frame_s = float(1 / frame_rate)
        self._last = last
        self._schedule = BlinkSchedule(seed, self._frame_s, last)
        self._watch = EyeWatch(engine)
        self._tell = tell
        self._told: set[str] = set()
        self._looks = True
        """Whether the eyes of this utterance are looked at, and blinks may begin."""
        self._step = max(1, round(LOOK_EVERY_S * frame_rate))
        self._quiet = math.ceil(INTO_SPEECH_S * frame_rate)
        """Frames of an utterance before any blink, which the picture before them fades out of."""

    def begin(self) -> None:
        """Says that an utterance begins."""
        self._watch.begin()
        self._looks = True

    def shown(self, index: int) -> None:
        """Says that a frame in which the eyes blink is shown."""
        self._last.at_s = index * self._frame_s

    def dropped(self) -> None:
        """Says that frames which have not been shown will not be."""
        self._schedule.forget()

    async def over(
        self, pictures: Sequence[Picture], first: int, begins_s: float, known: int
    ) -> list[Shown]:
        """Returns frames of an utterance that follow each other, as they are to be shown.

        Args:
            pictures: as the model made them, uint8 [height, width, 3].
            first: number of the first one in the utterance.
            begins_s: when the utterance begins, in the stream's time.
            known: frames that the utterance has at least.
        """
        shut = await self._tried(self._shut(pictures, first), set[int]())
        times_s = [begins_s + (first + n) * self._frame_s for n in range(len(pictures))]
        courses = self._schedule.courses(times_s, shut, self._room(len(pictures), first, known))
        covered = {n: course for n, course in enumerate(courses) if course is not None}
        under = [pictures[n] for n in covered]
        meshes = await self._tried(self._watch.meshes(under), [self._watch.face] * len(under))
        shown = [
            Shown(picture, _own(picture) if n in shut else None)
            for n, picture in enumerate(pictures)
        ]
        for (n, course), mesh in zip(covered.items(), meshes, strict=True):
            if mesh is not None:
                lids = Lids(pictures[n], mesh, course, times_s[n])
                shown[n] = Shown(await asyncio.to_thread(lids.draw), Blink(pictures[n], lids.draw))
        return shown

    async def _shut(self, pictures: Sequence[Picture], first: int) -> set[int]:
        """Returns in which frames the model has shut the eyes, of those that are looked at."""
        looks = [
            n
            for n in range(len(pictures))
            if first + n >= self._quiet and (first + n) % self._step == 0
        ]
        if not self._looks or not looks:
            return set()
        shut = await self._watch.shut([pictures[n] for n in looks])
        face = self._watch.face
        if face is None:
            self._stop(FACE_NOT_FOUND)
        elif not can_move(face):
            self._stop(EYES_NOT_MOVED)
        return {n for n, is_shut in zip(looks, shut, strict=True) if is_shut}

    def _room(self, frames: int, first: int, known: int) -> range:
        """Returns where a blink has to be that begins in some frames: all of it in them.

        Speech may stop to come after them, with the eyes shut. Only where they are too few for any
        blink it goes on in the next ones, if there is speech for them.
        """
        if not self._looks or self._watch.face is None:
            return range(0)
        end = frames if frames >= self._schedule.longest else known - first
        return range(max(0, self._quiet - first), end)

    async def _tried(self, work: Awaitable[T], otherwise: T) -> T:
        """Returns what networks found, or something else where they cannot be run now."""
        try:
            return await work
        except (EngineUnavailableError, ExecutionError) as error:
            if self._looks:
                log.warning("blinks over speech stop", problem=str(error))
            self._stop(NOT_LOOKED)
            return otherwise

    def _stop(self, why: Notice) -> None:
        """Begins no blink in the rest of the utterance."""
        self._looks = False
        if why.reason not in self._told:
            self._told.add(why.reason)
            self._tell(why)


@dataclass(frozen=True, slots=True)
class Lids:
    """Lids that are laid over a picture.

    Attributes:
        picture: uint8 [height, width, 3].
        mesh: of the face in it.
        course: of the blink.
        at_s: when the picture is shown, in the stream's time.
    """

    picture: Picture
    mesh: FaceMesh
    course: Course
    at_s: float

    def draw(self, later_s: float = 0.0) -> Picture:
        """Returns the picture with the lids as they are then, or some seconds later."""
        return with_lids(self.picture, self.mesh, self.course.closure(self.at_s + later_s))


def _own(picture: Picture) -> Blink:
    """Returns a blink of the model's own, which goes on no further than it is drawn."""
    return Blink(picture, lambda _: picture)
