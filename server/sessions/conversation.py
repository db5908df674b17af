"""One client's conversation, whatever door it came in by: speech in, events out, one outcome.

    push_audio, end_utterance, interrupt, end -> hearing -> draw -> outbox -> events
                                       update -> settings -/

Taking in never waits for drawing, so that an interruption is heard at once whatever was said before
it; the audio that waits is bounded, and refused beyond. Drawing waits for whoever takes the events.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import chain

import structlog

from server.animation.blink_schedule import LastBlink
from server.animation.defaults import GenerationSettings
from server.animation.economy import Economy
from server.animation.generation import Direction, seeded_noise
from server.animation.stitch import Clip
from server.animation.windows import Window, first_window, following
from server.errors import AvatarError, cause_of
from server.notices import Notice
from server.pictures.portrait import Picture
from server.sessions.blinks import Shown
from server.sessions.events import Event, Expiring, Frame, Updated, UpdateRefused
from server.sessions.gateway import Gateway
from server.sessions.hearing import Hearing
from server.sessions.idle import Coming, Idle
from server.sessions.jobs import Job
from server.sessions.life import SilenceLife, WarpLife
from server.sessions.outbox import Outbox
from server.sessions.pacer import Pacer
from server.sessions.prepared import Prepared
from server.sessions.report import Report
from server.sessions.retiming import Retimer
from server.sessions.speech import AudioLimits, Speech
from server.sessions.stating import Stated
from server.sessions.updates import Update, Updates
from server.sessions.window_times import Kind

log = structlog.get_logger()


class Conversation:
    """Takes a client's speech and draws it, one utterance after the other."""

    def __init__(
        self,
        gateway: Gateway,
        job: Job,
        prepared: Prepared,
        limits: AudioLimits,
        warp: WarpLife | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins with nothing said; `converse` is how to get one that draws.

        Args:
            gateway: draws.
            job: what is asked for; the output has the size of the prepared picture.
            prepared: who is animated.
            limits: on the audio.
            warp: what is shown while nobody speaks, if that is a warp.
            now: a monotonic clock in seconds.
        """
        height, width, _ = prepared.picture.shape
        self.job = replace(job, video_format=replace(job.video_format, width=width, height=height))
        self.notices = prepared.notices + (() if warp is None else warp.notices)
        """What could be better about the portrait; to be said before the events."""
        self._retiming = job.video_format.retiming
        self.report = Report(job.audio_format.sample_rate_hz, now, self._retiming.frame_rate)
        self._gateway = gateway
        self._prepared = prepared
        self._silence = self._silence_life() if job.idle == "model" else None
        life = warp or self._silence
        last_blink = LastBlink() if warp is None else warp.last_blink
        self._blinks = (
            gateway.blinks(job, last_blink, lambda notice: self._outbox.answer(notice))
            if job.blinks
            else None
        )
        self._idle = life and Idle(
            life,
            self._retiming.frame_rate,
            now,
            self._coming,
            is_paced=job.pace.is_realtime,
        )
        pacer = Pacer(job.pace, self.report, self._is_starving, gateway.recorder)
        self._outbox = Outbox(self._capacity, pacer, self._idle)
        self._hearing = Hearing(
            job.audio_format,
            self._retiming.frame_rate,
            limits,
            self.report,
            gateway.recorder,
            self._outbox.answer,
        )
        self._economy = Economy(gateway.offer.rungs(job.video_format.size), self._tell_lowered)
        self._updates = Updates(
            job.generation,
            gateway.offer,
            lambda settings, priority: gateway.direction(settings, prepared, priority),
            self._answer_update,
        )
        self._drawn: Speech | None = None
        self._drawing: asyncio.Task[None] | None = None
        self._first_index: int | None = None
        """Of the frames of the utterance that is drawn; None before there is one."""
        self._next_window = first_window(gateway.offer.windows)
        """The first one of that utterance that has not begun."""
        self._kind = self._kind_of(job.generation)
        """Of the window that was begun last."""
        self._last: Picture | None = None
        """The last picture drawn, or after an interruption the last one taken."""
        self._shown: Picture | None = None
        """The last picture taken."""

    @property
    def is_working(self) -> bool:
        """Whether something is left to do for which the client need not send more."""
        drawing = self._drawn is not None and not self._is_starving()
        return drawing or self._updates.is_waiting or not self._outbox.is_empty

    async def push_audio(self, data: bytes, *, field: str) -> None:
        """Takes PCM in the job's format; it begins an utterance where none goes on.

        Raises:
            InvalidFieldError: the bytes are no samples of the format.
            LimitError: the conversation's audio, or what of it waits, gets too long.
        """
        await self._hearing.push(data, field=field)

    def expires(self, reason: str, remaining_s: float, message: str) -> None:
        """Says that the stream will have to end, in how much more audio or time."""
        self._outbox.answer(Expiring(reason, remaining_s, message))

    async def end_utterance(self) -> None:
        """Says that the utterance is over; does nothing where none goes on."""
        await self._hearing.end_utterance()

    def interrupt(self) -> None:
        """Drops what has not been taken of all that was said; `Interrupted` answers it."""
        self._hearing.interrupt()
        self._drop_drawn()
        self._drawn = None
        if self._drawing is not None:
            self._drawing.cancel()
        self._outbox.interrupt()
        if self._blinks is not None:
            self._blinks.dropped()
        self._last = self._shown

    def drop(self) -> None:
        """Drops the audio of all that was said and has not been drawn."""
        self._hearing.drop()
        self._drop_drawn()

    def _drop_drawn(self) -> None:
        if self._drawn is not None:
            self._drawn.timeline.drop()

    def update(self, update_id: str, stated: Stated, *, field: str) -> None:
        """Changes settings of generation; `Updated` or `UpdateRefused` answers it.

        They hold from the first window on that has not begun when they are ready. A window inside
        an utterance never waits for them; the first one of an utterance does.

        Args:
            update_id: whatever the client wants to know the answer by.
            stated: what is to change.
            field: what the client calls the update.

        Raises:
            LimitError: the client reads none of the answers to what it sends.
        """
        self._updates.ask(Update(update_id, stated, field))

    async def end(self) -> None:
        """Says that nothing more will be said: after what is left, the events end."""
        await self._hearing.end()

    async def events(self) -> AsyncIterator[Event]:
        """Yields what is to be answered; taking an event makes room for more to be drawn."""
        async for event in self._outbox.events():
            if isinstance(event, Frame):
                self._note(event)
            yield event

    def _note(self, shown: Frame) -> None:
        if self.job.continues:
            # Without what is laid over it; and a copy, since it is a part of its whole window.
            made = shown.picture if shown.blink is None else shown.blink.untouched
            self._shown = made.copy()
        if self._blinks is not None and shown.blink is not None:
            self._blinks.shown(shown.index)

    async def draw(self, tasks: asyncio.TaskGroup) -> None:
        """Draws what is said until the end; each utterance is a task of its own.

        What is encoded without speech is encoded meanwhile.
        """
        judging = tasks.create_task(self._judge())
        beside = [
            judging,
            tasks.create_task(self._updates.settle()),
            tasks.create_task(self._gateway.encode(self.job, self._prepared)),
        ]
        try:
            while (speech := await self._next(tasks)) is not None:
                await self._draw_until_interrupted(speech, tasks)
            if self._updates.is_waiting:
                await self._updates.settled()
            await judging
        finally:
            for task in beside:
                task.cancel()
        self._outbox.end()

    async def _judge(self) -> None:
        """Says what could be better about the portrait, which takes longer than to begin."""
        for notice in await self._prepared.judge():
            self._outbox.answer(notice)

    async def _draw_until_interrupted(self, speech: Speech, tasks: asyncio.TaskGroup) -> None:
        self._drawn = speech
        self._first_index = None
        self._next_window = first_window(self._gateway.offer.windows)
        drawing = self._drawing = tasks.create_task(self._draw(speech))
        try:
            await asyncio.wait([drawing])
        finally:
            drawing.cancel()
            # Not by the task itself, which may be cancelled before its first step.
            speech.timeline.drop()
            self._drawn = self._drawing = None

    def _silence_life(self) -> SilenceLife:
        gateway, noise = self._gateway, seeded_noise(self.job.generation.seed)
        return SilenceLife(
            lambda opening: gateway.silence(
                self._prepared, opening, noise, lambda _: self._updates.direction, self._economy
            ),
            self._retiming,
            gateway.offer.windows.longest,
            lambda: self._outbox.wake(),
        )

    @property
    def _capacity(self) -> int:
        """How many pictures may wait to leave."""
        longest = self._gateway.offer.windows.longest
        if not self.job.pace.is_realtime:
            return longest
        return max(longest, math.ceil(self.job.pace.buffer_s * self._retiming.frame_rate))

    def _is_starving(self) -> bool:
        """Tells whether what is drawn waits for speech."""
        return self._drawn is not None and self._drawn.timeline.is_starving

    def _tell_lowered(self, notice: Notice) -> None:
        log.warning("memory is short", problem=notice.message)
        self._outbox.answer(notice)

    async def _next(self, tasks: asyncio.TaskGroup) -> Speech | None:
        drawing = None
        if self._silence is not None and not self._hearing.is_waiting:
            drawing = tasks.create_task(self._draw_silence(self._silence))
        try:
            return await self._hearing.next()
        finally:
            if drawing is not None:
                drawing.cancel()

    def _coming(self) -> Coming:
        for speech in (self._drawn, *self._hearing.waiting):
            if speech is not None and speech.number > self._outbox.last_utterance:
                return Coming(speech.number, is_said=True)
        return Coming(self._hearing.next_begun, is_said=False)

    @property
    def _opening(self) -> Picture | None:
        """What an utterance begins with, or else with the portrait."""
        if not self.job.continues:
            return None
        if self._idle is None or not self._idle.is_shown:
            return self._last
        # A warp comes to rest at the portrait.
        return None if self._silence is None else self._shown

    async def _draw_silence(self, silence: SilenceLife) -> None:
        await self._updates.settled()
        continues = self.job.continues
        await silence.draw(self._last if continues else None, continues=continues)

    async def _draw(self, speech: Speech) -> None:
        opening = self._opening
        if self._blinks is not None:
            self._blinks.begin()
        await self._updates.settled()
        windows = 0
        retimer = Retimer(self._retiming)
        async for clip in self._gateway.clips(
            self.job, self._prepared, speech, opening, self._begin_window, self._economy
        ):
            self.report.windows += clip.window + 1 - windows
            windows = clip.window + 1
            self.report.clip_made(len(clip.pictures), clip.work)
            if clip.work is not None and not self._economy.is_lowered:
                self._gateway.window_times.note(self._kind, clip.work)
            for frames in self._parts(clip, retimer):
                await self._show(speech, frames)
        await self._show(speech, retimer.finish())
        self._outbox.ended(speech)

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
            if self.job.continues:
                # A copy, since the picture is a part of its whole window.
                self._last = picture.copy()

    async def _with_blinks(self, speech: Speech, made: list[tuple[int, Picture]]) -> list[Shown]:
        pictures = [picture for _, picture in made]
        if self._blinks is None or not made:
            return [Shown(picture) for picture in pictures]
        begins = self._outbox.next_index if self._first_index is None else self._first_index
        begins_s = float(begins / self._retiming.frame_rate)
        return await self._blinks.over(pictures, made[0][0], begins_s, speech.known_frames)

    def _begin_window(self, window: Window) -> Direction:
        self._next_window = following(window, self._gateway.offer.windows)
        self._kind = self._kind_of(self._updates.settings)
        return self._updates.direction

    def _kind_of(self, settings: GenerationSettings) -> Kind:
        return Kind.of(settings, self.job.video_format.size)

    def _answer_update(self, update: Update, outcome: GenerationSettings | AvatarError) -> None:
        if isinstance(outcome, AvatarError):
            self._outbox.answer(UpdateRefused(update.update_id, outcome))
        else:
            self._outbox.answer(Updated(update.update_id, outcome, *self._first_not_begun()))

    def _first_not_begun(self) -> tuple[int, int, int]:
        """Returns utterance, number and first frame of the first window that has not begun."""
        index, speech, window = self._outbox.next_index, self._drawn, self._next_window
        if speech is not None:
            # Until its first picture is there, idle frames may come before it.
            begins = index if self._first_index is None else self._first_index
            frames = speech.frame_count
            if frames is None or window.start + window.overlap < frames:
                first = self._retiming.first_showing(window.start)
                return speech.number, window.index, begins + first
            index = begins + (speech.shown_frames or 0)
        return self._hearing.next_number, 0, index


@asynccontextmanager
async def converse(
    gateway: Gateway, job: Job, limits: AudioLimits, now: Callable[[], float] = time.monotonic
) -> AsyncGenerator[Conversation]:
    """Opens a conversation and draws as long as the context lasts; ``now`` is a monotonic clock.

    Whatever goes wrong in it ends the context with that one error.

    Raises:
        InvalidFieldError: the portrait is no usable picture.
        EngineUnavailableError: a network cannot be run now.
    """
    prepared = await gateway.prepare(job)
    warp = await gateway.warp_life(job, prepared) if job.idle == "warp" else None
    conversation = Conversation(gateway, job, prepared, limits, warp, now)
    try:
        async with asyncio.TaskGroup() as tasks:
            drawing = tasks.create_task(conversation.draw(tasks))
            try:
                yield conversation
            finally:
                drawing.cancel()
    except BaseExceptionGroup as group:
        raise cause_of(group) from group
    finally:
        conversation.drop()
