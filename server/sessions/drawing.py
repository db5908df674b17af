"""Utterances of a conversation to pictures in its outbox, one after the other.

speech -> windows -> frames of the rate asked for -> blinks -> outbox
"""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import chain

from server.animation.economy import Economy
from server.animation.generation import Direction
from server.animation.stitch import Clip
from server.animation.windows import Window, first_window, following
from server.audio.clock import FRAME_RATE
from server.pictures.portrait import Picture
from server.sessions.blinks import Blinks, Shown
from server.sessions.events import Frame
from server.sessions.gateway import Gateway
from server.sessions.jobs import Job
from server.sessions.load import Seat
from server.sessions.outbox import Outbox
from server.sessions.prepared import Prepared
from server.sessions.report import Report
from server.sessions.retiming import Retimer
from server.sessions.speech import Speech
from server.sessions.stepping import Stepping
from server.sessions.updates import Updates
from server.sessions.window_times import Kind
from server.triton.yielding import YieldingEngine

MARGIN = 2
"""Of the longest windows, as slow as the last ones: a stream that waits leaves time for so many."""


class Drawing:
    """Draws what is said, and can be interrupted."""

    def __init__(
        self,
        gateway: Gateway,
        job: Job,
        prepared: Prepared,
        report: Report,
        outbox: Outbox,
        updates: Updates,
        economy: Economy,
        blinks: Blinks | None,
        seat: Seat,
        engine: YieldingEngine,
        stepping: Stepping | None,
    ) -> None:
        """Begins with nothing drawn.

        Args:
            gateway: draws.
            job: what is asked for.
            prepared: who is animated.
            report: counts windows.
            outbox: takes the pictures.
            updates: have what windows are made with.
            economy: lowers what they take where memory is short.
            blinks: lays blinks over them, if there are to be any.
            seat: of the stream among those at work.
            engine: runs the networks, for what is drawn while nobody speaks as well.
            stepping: says with how many steps windows are made, if those may change.
        """
        self._gateway = gateway
        self._job = job
        self._prepared = prepared
        self._retiming = job.video_format.retiming
        self._report = report
        self._outbox = outbox
        self._updates = updates
        self._economy = economy
        self._blinks = blinks
        self._stepping = stepping
        self._speech: Speech | None = None
        self._task: asyncio.Task[None] | None = None
        self._first_index: int | None = None
        """Of the frames of the utterance that is drawn; None before there is one."""
        self._next_window = first_window(gateway.offer.windows)
        """The first one of that utterance that has not begun."""
        self._engine = engine
        self._seat = seat
        """Knows the kind of the window that was begun last."""
        self.last: Picture | None = None
        """The last picture drawn, or after an interruption the last one taken."""
        self.shown: Picture | None = None
        """The last picture taken."""

    @property
    def speech(self) -> Speech | None:
        """The utterance that is drawn."""
        return self._speech

    @property
    def is_starving(self) -> bool:
        """Whether what is drawn waits for speech."""
        return self._speech is not None and self._speech.timeline.is_starving

    @property
    def is_working(self) -> bool:
        """Whether something is drawn for which no more need be said."""
        return self._speech is not None and not self.is_starving

    async def draw(self, speech: Speech, opening: Picture | None, tasks: asyncio.TaskGroup) -> None:
        """Draws an utterance to its end, or until it is interrupted.

        Args:
            speech: the utterance.
            opening: what it begins with, or else with the portrait.
            tasks: of the conversation, of which the drawing is one.
        """
        self._speech = speech
        self._first_index = None
        self._next_window = first_window(self._gateway.offer.windows)
        drawing = self._task = tasks.create_task(self._draw(speech, opening))
        try:
            await asyncio.wait([drawing])
        finally:
            drawing.cancel()
            # Not by the task itself, which may be cancelled before its first step.
            speech.timeline.drop()
            self._speech = self._task = None

    def interrupt(self) -> None:
        """Ends what is drawn; its pictures may have left or not."""
        self.drop()
        self._speech = None
        if self._task is not None:
            self._task.cancel()
        if self._blinks is not None:
            self._blinks.dropped()
        self.last = self.shown

    def drop(self) -> None:
        """Drops the audio that has not been drawn."""
        if self._speech is not None:
            self._speech.timeline.drop()

    def taken(self, frame: Frame) -> None:
        """Says that a frame has been taken."""
        if self._job.continues:
            # Without what is laid over it; and a copy, since it is a part of its whole window.
            made = frame.picture if frame.blink is None else frame.blink.untouched
            self.shown = made.copy()
        if self._blinks is not None and frame.blink is not None:
            self._blinks.shown(frame.index)

    def first_not_begun(self, next_number: int) -> tuple[int, int, int]:
        """Returns utterance, number and first frame of the first window that has not begun.

        Args:
            next_number: of the utterance that is drawn next.
        """
        index, speech, window = self._outbox.next_index, self._speech, self._next_window
        if speech is not None:
            # Until its first picture is there, idle frames may come before it.
            begins = index if self._first_index is None else self._first_index
            frames = speech.frame_count
            if frames is None or window.start + window.overlap < frames:
                first = self._retiming.first_showing(window.start)
                return speech.number, window.index, begins + first
            index = begins + (speech.shown_frames or 0)
        return next_number, 0, index

    async def _draw(self, speech: Speech, opening: Picture | None) -> None:
        if self._blinks is not None:
            self._blinks.begin()
        await self._updates.settled()
        windows = 0
        retimer = Retimer(self._retiming)
        async for clip in self._gateway.clips(
            self._job,
            self._prepared,
            speech,
            opening,
            self._begin_window,
            self._economy,
            self._engine,
        ):
            self._report.windows += clip.window + 1 - windows
            windows = clip.window + 1
            self._report.clip_made(len(clip.pictures), clip.work)
            if clip.work is not None and not self._economy.is_lowered:
                self._gateway.window_times.note(self._seat.kind, clip.work)
                self._gateway.load.note(self._seat.kind, clip.work.engine_share)
            self._measure(clip)
            for frames in self._parts(clip, retimer):
                await self._show(speech, frames)
        await self._show(speech, retimer.finish())
        if speech.samples:
            self._outbox.ended(speech)

    @property
    def spare_s(self) -> float:
        """How long what is drawn can wait, as far as the last windows tell; 0 where they do not."""
        frame_s = self._report.slowest_frame_s
        if not frame_s:
            return 0.0
        return self._outbox.slack_s - MARGIN * frame_s * self._gateway.offer.windows.longest

    def _measure(self, clip: Clip) -> None:
        """Has windows made with other steps where that is due."""
        stepping, drawn = self._stepping, self._seat.kind.steps
        # The first window of an utterance is short, for a quick first frame, and no measure.
        if stepping is None or clip.work is None or clip.window == 0:
            return
        frames_s = len(clip.pictures) / FRAME_RATE
        most, asked = self._updates.most_steps, self._updates.settings.steps
        if stepping.made(frames_s, clip.work.busy_s, drawn, most, asked):
            self._updates.take_steps(stepping.steps)
            self._outbox.answer(stepping.notice(drawn))

    def _parts(self, clip: Clip, retimer: Retimer) -> Iterable[Iterator[tuple[int, Picture]]]:
        """Returns the frames that show a clip, in parts that leave one after the other."""
        parts = (retimer.add(number, each) for number, each in enumerate(clip.pictures, clip.start))
        # Whether a blink may begin is told by all that follows.
        return parts if self._blinks is None else [chain.from_iterable(parts)]

    async def _show(self, speech: Speech, frames: Iterator[tuple[int, Picture]]) -> None:
        """Adds the frames of a part of an utterance, as many as there are to be."""
        made = await asyncio.to_thread(list, frames) if self._retiming.blends else list(frames)
        shown = await self._with_blinks(speech, made)
        for (number, picture), (drawn, blink) in zip(made, shown, strict=True):
            if speech.shown_frames is not None and number >= speech.shown_frames:
                return
            if number == 0:
                self._first_index = self._outbox.next_index
            await self._outbox.picture(speech, number, drawn, blink)
            if self._job.continues:
                # A copy, since the picture is a part of its whole window.
                self.last = picture.copy()

    async def _with_blinks(self, speech: Speech, made: list[tuple[int, Picture]]) -> list[Shown]:
        pictures = [picture for _, picture in made]
        if self._blinks is None or not made:
            return [Shown(picture) for picture in pictures]
        begins = self._outbox.next_index if self._first_index is None else self._first_index
        begins_s = float(begins / self._retiming.frame_rate)
        return await self._blinks.over(pictures, made[0][0], begins_s, speech.known_frames)

    def _begin_window(self, window: Window) -> Direction:
        self._next_window = following(window, self._gateway.offer.windows)
        self._seat.kind = Kind.of(self._updates.drawn, self._job.video_format.size)
        return self._updates.direction
