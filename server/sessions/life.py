"""What is shown while nobody speaks: the portrait, moved, or what the model makes of silence."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable

from server.animation.blink_schedule import LEAST_APART_S, LastBlink
from server.animation.face_warp import FaceWarp
from server.animation.idle_motion import Motion, Pose, smooth
from server.animation.stitch import Clip
from server.notices import Notice
from server.pictures.mesh import find_meshes
from server.pictures.portrait import Picture
from server.sessions.retiming import Retimer, Retiming
from server.triton.engine import Engine, Priority

WAKE_S, REST_S = 0.8, 0.32
"""How long a face takes to begin to move, and to come to rest before it speaks."""
ATTEND_S = 0.6
"""How long it takes to begin to listen, and to cease."""
FACE_NOT_FOUND = Notice(
    "IDLE_FACE_NOT_FOUND",
    "no face was found, so the picture stands while nobody speaks; send a portrait in which a face "
    "is to be seen, or ask for the idle mode MODEL",
)
EYES_NOT_MOVED = Notice(
    "IDLE_EYES_NOT_MOVED",
    "the eyes are larger than people's, so that they neither blink nor look around while nobody "
    "speaks, and only the head moves; ask for the idle mode MODEL where they shall",
)


class WarpLife:
    """A portrait with blinks, shifts of gaze and small movements of the head; see `idle.Life`."""

    is_ready = True

    def __init__(
        self, draw: Callable[[Pose], Picture], seed: int, notices: tuple[Notice, ...] = ()
    ) -> None:
        """Begins at rest.

        Args:
            draw: draws the portrait.
            seed: of the motion.
            notices: what could be better about it.
        """
        self.notices = notices
        self.last_blink = LastBlink()
        """Of speech too, if whoever shows speech says so here."""
        self._draw = draw
        self._motion = Motion(seed)
        self._awake = self._attention = 0.0
        self._last_s = self._idle_since_s = -math.inf
        self._blinks_since_s, self._blinks_until_s = 0.0, math.inf
        """Between which blinks begin: half of one is not shown, and none before a word."""

    async def picture(
        self, at_s: float, since_s: float, *, resting: bool, listening: bool
    ) -> Picture:
        """Returns the portrait as it is at a moment."""
        pose = self.pose(at_s, since_s, resting=resting, listening=listening)
        return await asyncio.to_thread(self._draw, pose)

    def pose(self, at_s: float, since_s: float, *, resting: bool, listening: bool = False) -> Pose:
        """Returns how the face is at a moment, after all the moments that were asked for before."""
        if since_s != self._idle_since_s:
            self._idle_since_s, self._last_s, self._awake = since_s, at_s, 0.0
            self._attention = float(listening)
            self._blinks_since_s, self._blinks_until_s = since_s, math.inf
        if not resting and self._blinks_until_s < at_s:
            self._blinks_since_s, self._blinks_until_s = at_s, math.inf
        elif resting:
            self._blinks_until_s = min(self._blinks_until_s, at_s)
        step_s, self._last_s = at_s - self._last_s, at_s
        step = -step_s / REST_S if resting else step_s / WAKE_S
        self._awake = _within(self._awake + step)
        attended = step_s / ATTEND_S if listening else -step_s / ATTEND_S
        self._attention = _within(self._attention + attended)
        begun_s, _ = self._motion.blink(at_s)
        blinks = self._blinks_since_s <= begun_s < self._blinks_until_s and self._may_blink(begun_s)
        if blinks:
            self.last_blink.at_s = begun_s
        awake, attention = smooth(self._awake), smooth(self._attention)
        return self._motion.pose(at_s, awake, attention=attention, blinks=blinks)

    def _may_blink(self, begun_s: float) -> bool:
        """Tells whether a blink is the one that goes on, or long enough after the last one."""
        last_s = self.last_blink.at_s
        return begun_s == last_s or begun_s >= last_s + LEAST_APART_S


def _within(part: float) -> float:
    return min(1.0, max(0.0, part))


async def warp_life(engine: Engine, picture: Picture, seed: int) -> WarpLife:
    """Returns the life of a portrait, uint8 [height, width, 3]: of the largest face in it.

    Raises:
        EngineUnavailableError: the mesh cannot be found now.
    """
    meshes = await find_meshes(engine, picture, Priority.FIRST_FRAME)
    if not meshes:
        return WarpLife(lambda _: picture, seed, (FACE_NOT_FOUND,))
    warp = await asyncio.to_thread(FaceWarp, picture, meshes[0])
    return WarpLife(warp.draw, seed, () if warp.moves_eyes else (EYES_NOT_MOVED,))


class SilenceLife:
    """What the model makes of silence, in order; see `idle.Life`."""

    def __init__(
        self,
        clips: Callable[[Picture | None], AsyncIterator[Clip]],
        retiming: Retiming,
        capacity: int,
        changed: Callable[[], None],
    ) -> None:
        """Begins without pictures.

        Args:
            clips: draws some silence, which begins with a picture, or else with the portrait.
            retiming: to the frames that are shown.
            capacity: pictures that may wait.
            changed: told when there is a picture.
        """
        self._clips = clips
        self._retiming = retiming
        self._capacity = capacity
        self._changed = changed
        self._pictures: deque[Picture] = deque()
        self._taken = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        """Whether a picture waits."""
        return bool(self._pictures)

    async def picture(
        self, at_s: float, since_s: float, *, resting: bool, listening: bool
    ) -> Picture:
        """Returns the next picture; its moment is when it is taken."""
        del at_s, since_s, resting, listening
        self._taken.set()
        return self._pictures.popleft()

    async def draw(self, opening: Picture | None, *, continues: bool) -> None:
        """Draws until it is cancelled; waits while too many pictures wait.

        Args:
            opening: what it begins with, or else with the portrait.
            continues: whether it goes on with the last picture where some silence is over, rather
                than with the portrait.
        """
        self._pictures.clear()
        while True:
            retimer = Retimer(self._retiming)
            async for clip in self._clips(opening):
                for number, picture in enumerate(clip.pictures, clip.start):
                    for _, shown in retimer.add(number, picture):
                        await self._add(shown)
                if continues and len(clip.pictures):
                    opening = clip.pictures[-1].copy()

    async def _add(self, picture: Picture) -> None:
        while len(self._pictures) >= self._capacity:
            self._taken.clear()
            await self._taken.wait()
        # A copy, since the picture is a part of its whole window.
        self._pictures.append(picture.copy())
        self._changed()
