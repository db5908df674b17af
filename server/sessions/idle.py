"""Frames for when nobody speaks: when each is due, and how it goes over to speech and back.

The clock stands at the frame that left last. So time goes on at its own speed while nobody speaks,
waits while frames come late or are not taken, and is never caught up with: a frame that could not
leave in time is not made.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple, Protocol

from server.pictures.portrait import Picture
from server.sessions.events import Blink, Frame
from server.sessions.retiming import blended

INTO_IDLE_S, INTO_SPEECH_S = 0.8, 0.24
"""How long pictures are cross-faded: at leisure where nobody waits, else before a word is over."""


class Coming(NamedTuple):
    """The next utterance, and whether any of it has been said."""

    utterance_id: int
    is_said: bool


class Life(Protocol):
    """Draws what is shown while nobody speaks."""

    @property
    def is_ready(self) -> bool:
        """Whether there is a picture."""
        ...

    async def picture(
        self, at_s: float, since_s: float, *, resting: bool, listening: bool
    ) -> Picture:
        """Returns the picture of a moment; times are in seconds from the stream's start.

        Args:
            at_s: the moment.
            since_s: since when nobody has spoken.
            resting: whether speech is on its way, for which the face is to come to rest.
            listening: whether the other person talks.
        """
        ...


class Idle:
    """Gives the frames between utterances, and fades the first ones of speech in after them."""

    def __init__(
        self,
        life: Life,
        frame_rate: Fraction,
        now: Callable[[], float],
        coming: Callable[[], Coming],
        *,
        is_paced: bool = False,
    ) -> None:
        """Begins with the stream.

        Args:
            life: draws.
            frame_rate: frames a second.
            now: a monotonic clock in seconds.
            coming: tells what is said next.
            is_paced: whether frames of speech leave when they are shown, rather than ahead.
        """
        self.listens = False
        """Whether the other person talks."""
        self._life = life
        self._frame_rate = frame_rate
        self._now = now
        self._coming = coming
        self._is_paced = is_paced
        self._began_s = now()
        """When frame 0 would have been due, had every frame since been in time."""
        self._is_idle: bool | None = None
        """Whether the last frame was one of these; None before the first one."""
        self._since_s = 0.0
        """Since when they are shown, in the stream's time."""
        self._shown: Picture | None = None
        self._blink: Blink | None = None
        """In what was shown."""
        self._from: Picture | None = None
        """What is faded out."""
        self._lids: Blink | None = None
        """In that: it ends while it is faded out, rather than with shut eyes."""
        self._faded, self._fading = 0, 0
        """Frames that were faded, and those that are to be."""

    @property
    def is_shown(self) -> bool:
        """Whether the last frame was one of these."""
        return self._is_idle is True

    def due_s(self, index: int) -> float:
        """Returns in how many seconds a frame is due; infinity as long as there is no picture."""
        if not self._life.is_ready:
            return math.inf
        return self._began_s + float(index / self._frame_rate) - self._now()

    def interrupted(self, index: int) -> None:
        """Says that a frame is due now, since what was sent before it may not have been played."""
        self._began_s = self._now() - float(index / self._frame_rate)

    async def frame(self, index: int, audio_sample: int) -> Frame:
        """Returns an idle frame, which leaves now."""
        coming = self._coming()
        picture = await self._picture(index, coming)
        return Frame(
            *(index, coming.utterance_id, audio_sample, picture),
            is_idle=True,
            is_listening=self.listens,
        )

    async def spoken(self, frame: Frame) -> Frame:
        """Returns a frame of speech as it is shown, which leaves now."""
        picture = await self._left(frame.index, frame.picture, INTO_SPEECH_S, is_idle=False)
        self._blink = frame.blink
        return replace(frame, picture=picture)

    async def _picture(self, index: int, coming: Coming) -> Picture:
        at_s = float(index / self._frame_rate)
        if not self.is_shown:
            self._since_s = at_s
        picture = await self._life.picture(
            at_s, self._since_s, resting=coming.is_said, listening=self.listens
        )
        return await self._left(index, picture, INTO_IDLE_S, is_idle=True)

    async def _left(self, index: int, picture: Picture, fade_s: float, *, is_idle: bool) -> Picture:
        if self._is_idle is not None and self._is_idle != is_idle:
            self._from, self._lids, self._faded = self._shown, self._blink, 0
            self._blink = None
            self._fading = round(fade_s * self._frame_rate)
        self._is_idle = is_idle
        began_s = self._now() - float(index / self._frame_rate)
        # Speech may have begun before the frame whose place it took was due.
        is_shown_now = self._is_paced and not is_idle
        self._began_s = began_s if is_shown_now else max(self._began_s, began_s)
        if self._from is not None and self._faded < self._fading:
            self._faded += 1
            if self._lids is not None:
                later_s = float(self._faded / self._frame_rate)
                self._from = await asyncio.to_thread(self._lids.later, later_s)
            part = Fraction(self._faded, self._fading + 1)
            picture = await asyncio.to_thread(blended, self._from, picture, part)
        else:
            self._from = self._lids = None
        # A copy, since a picture of speech is a part of its whole window.
        self._shown = picture if is_idle else picture.copy()
        return picture
