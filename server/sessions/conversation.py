"""One client's conversation, whatever door it came in by: speech in, events out, one outcome.

    push_audio, end_utterance, interrupt, resume, end -> hearing -> draw -> outbox -> events
                                               update -> settings -/

Taking in never waits for drawing, so that an interruption is heard at once whatever was said before
it; the audio that waits is bounded, and refused beyond. Drawing waits for whoever takes the events.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import structlog

from server.animation.blink_schedule import LastBlink
from server.animation.defaults import GenerationSettings
from server.animation.economy import Economy
from server.animation.generation import seeded_noise
from server.audio.clock import Clock
from server.errors import AvatarError, InvalidFieldError, cause_of
from server.notices import Notice
from server.pictures.portrait import Picture
from server.sessions.announcing import Announcer
from server.sessions.drawing import Drawing
from server.sessions.events import Event, Expiring, Frame, Pong, Updated, UpdateRefused
from server.sessions.gateway import Gateway
from server.sessions.hearing import MAX_WAITING_UTTERANCES, Hearing
from server.sessions.idle import Coming, Idle
from server.sessions.jobs import Job
from server.sessions.kept import KeptAudio
from server.sessions.life import SilenceLife, WarpLife
from server.sessions.load import Seat
from server.sessions.outbox import Outbox
from server.sessions.pacer import Pacer
from server.sessions.playback import Playback
from server.sessions.prepared import Prepared
from server.sessions.report import Report
from server.sessions.resumption import Resumption
from server.sessions.speech import AudioLimits, Speech
from server.sessions.stating import Stated
from server.sessions.stepping import Stepping
from server.sessions.updates import Update, Updates
from server.sessions.window_times import Kind

MAX_PING_ID_BYTES = 128

log = structlog.get_logger()


class Conversation:
    """Takes a client's speech and draws it, one utterance after the other."""

    def __init__(
        self,
        gateway: Gateway,
        job: Job,
        prepared: Prepared,
        limits: AudioLimits,
        warp: WarpLife | None,
        seat: Seat,
        now: Callable[[], float],
    ) -> None:
        """Begins with nothing said; `converse` is how to get one that draws.

        Args:
            gateway: draws.
            job: what is asked for; the output has the size of the prepared picture.
            prepared: who is animated.
            limits: on the audio.
            warp: what is shown while nobody speaks, if that is a warp.
            seat: of this stream among those at work.
            now: a monotonic clock in seconds.
        """
        height, width, _ = prepared.picture.shape
        self.job = replace(job, video_format=replace(job.video_format, width=width, height=height))
        self.notices = prepared.notices + (() if warp is None else warp.notices)
        """What could be better about the portrait; to be said before the events."""
        self._retiming = job.video_format.retiming
        self.report = Report(job.audio_format.sample_rate_hz, now, self._retiming.frame_rate)
        self._gateway = gateway
        self._engine = gateway.engine(lambda: self._drawing.spare_s)
        self._prepared = prepared
        self._silence = self._silence_life() if job.idle == "model" else None
        life = warp or self._silence
        last_blink = LastBlink() if warp is None else warp.last_blink
        self._idle = life and Idle(
            life,
            self._retiming.frame_rate,
            now,
            self._coming,
            is_paced=job.pace.is_realtime,
        )
        pacer = Pacer(job.pace, self.report, lambda: self._drawing.is_starving, gateway.recorder)
        rate = Clock(job.audio_format.sample_rate_hz, self._retiming.frame_rate)
        self._playback = Playback(rate)
        kept = KeptAudio(job.audio_format, limits.resumable_s, MAX_WAITING_UTTERANCES)
        self._resumption = Resumption(kept, self._playback)
        announcer = Announcer(job.intervals, self.report)
        self._outbox = Outbox(self._capacity, pacer, self._playback, announcer, self._idle)
        self._hearing = Hearing(
            job.audio_format,
            self._retiming.frame_rate,
            limits,
            self.report,
            self._resumption,
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
        self._drawing = Drawing(
            gateway,
            self.job,
            prepared,
            self.report,
            self._outbox,
            self._updates,
            self._economy,
            gateway.blinks(job, last_blink, self._outbox.answer) if job.blinks else None,
            seat,
            self._engine,
            Stepping(job.min_steps, job.generation.steps) if job.min_steps else None,
        )

    @property
    def is_working(self) -> bool:
        """Whether something is left to do for which the client need not send more."""
        return self._drawing.is_working or self._updates.is_waiting or not self._outbox.is_empty

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
        self._drawing.interrupt()
        self._outbox.interrupt(self._resumption.interrupted())

    def played(self, last_frame_index: int, *, field: str) -> None:
        """Takes which frame was the last one played.

        Raises:
            InvalidFieldError: no such frame was sent, or a later one was reported before.
        """
        name = f"{field}.last_frame_index"
        self._playback.report(last_frame_index, self._outbox.last_index, field=name)

    async def resume(self, *, field: str) -> None:
        """Says again what was interrupted; `Resumed` or `ResumeRefused` answers it.

        Raises:
            LimitError: the client reads none of the answers to what it sends.
        """
        await self._hearing.resume(field=field)

    def drop(self) -> None:
        """Drops the audio of all that was said and has not been drawn."""
        self._hearing.drop()
        self._drawing.drop()

    def ping(self, ping_id: str, *, field: str) -> None:
        """Answers with `Pong`, before all that waits.

        Raises:
            InvalidFieldError: the id is too long.
            LimitError: the client reads none of the answers to what it sends.
        """
        if len(ping_id.encode()) > MAX_PING_ID_BYTES:
            problem = f"is longer than {MAX_PING_ID_BYTES} bytes"
            raise InvalidFieldError(f"{field}.ping_id", problem)
        self._outbox.pong(Pong(ping_id))

    def listening(self, active: bool) -> None:
        """Says whether the other person talks; idle frames are of a listener then."""
        if self._idle is not None:
            self._idle.listens = active

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
                self._drawing.taken(event)
            yield event

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
                await self._drawing.draw(speech, self._opening, tasks)
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

    def _silence_life(self) -> SilenceLife:
        gateway, noise = self._gateway, seeded_noise(self.job.generation.seed)
        return SilenceLife(
            lambda opening: gateway.silence(
                self._prepared,
                opening,
                noise,
                lambda _: self._updates.direction,
                self._economy,
                self._engine,
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
        for speech in (self._drawing.speech, *self._hearing.waiting):
            if speech is not None and speech.number > self._outbox.last_utterance:
                return Coming(speech.number, is_said=True)
        return Coming(self._hearing.next_begun, is_said=False)

    @property
    def _opening(self) -> Picture | None:
        """What an utterance begins with, or else with the portrait."""
        if not self.job.continues:
            return None
        if self._idle is None or not self._idle.is_shown:
            return self._drawing.last
        # A warp comes to rest at the portrait.
        return None if self._silence is None else self._drawing.shown

    async def _draw_silence(self, silence: SilenceLife) -> None:
        await self._updates.settled()
        continues = self.job.continues
        await silence.draw(self._drawing.last if continues else None, continues=continues)

    def _answer_update(self, update: Update, outcome: GenerationSettings | AvatarError) -> None:
        if isinstance(outcome, AvatarError):
            self._outbox.answer(UpdateRefused(update.update_id, outcome))
        else:
            begins = self._drawing.first_not_begun(self._hearing.next_number)
            self._outbox.answer(Updated(update.update_id, outcome, *begins))


@asynccontextmanager
async def converse(
    gateway: Gateway, job: Job, limits: AudioLimits, now: Callable[[], float] = time.monotonic
) -> AsyncGenerator[Conversation]:
    """Opens a conversation and draws as long as the context lasts; ``now`` is a monotonic clock.

    Whatever goes wrong in it ends the context with that one error.

    Raises:
        CapacityError: the engines have too much to do.
        InvalidFieldError: the portrait is no usable picture.
        EngineUnavailableError: a network cannot be run now.
    """
    with gateway.load.stream(Kind.of(job.generation, job.video_format.size)) as seat:
        prepared = await gateway.prepare(job)
        warp = await gateway.warp_life(job, prepared) if job.idle == "warp" else None
        conversation = Conversation(gateway, job, prepared, limits, warp, seat, now)
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
