"""The Animate stream: three tasks, one each for hearing, drawing and answering.

    client -> hear -> utterances -> draw -> answers -> answer -> client

Both queues and every utterance's timeline are bounded, so a client that does not read holds up its
own drawing, and then its own hearing. The first task that fails ends the others.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from echomimic.v1 import avatar_service_pb2 as pb

from server.api import responses
from server.api.calls import Call
from server.api.requests import read_start
from server.errors import CapacityError, IdleClientError, InvalidFieldError, NotBuiltError
from server.pictures.portrait import Picture
from server.sessions.conversation import Session, open_session
from server.sessions.gateway import Gateway
from server.sessions.outbox import Answers
from server.sessions.speech import AudioLimits, Speech

Requests = AsyncIterator[pb.AnimateRequest]

HEAR_OUT_S = 0.5
HEAR_OUT_FULL_S = 0.04
QUIET_S = 0.02
WAITING_UTTERANCES = 256


@asynccontextmanager
async def hearing_out(requests: Requests) -> AsyncGenerator[None]:
    """Reads what the client has on its way before a refusal reaches it.

    grpc.aio clients that are still writing when a call ends report INTERNAL in place of its status.
    """
    try:
        yield
    except Exception as error:
        # Whoever is turned away for want of room is to know at once.
        limit_s = HEAR_OUT_FULL_S if isinstance(error, CapacityError) else HEAR_OUT_S
        with contextlib.suppress(TimeoutError, IdleClientError):
            async with asyncio.timeout(limit_s):
                while await _next(requests, QUIET_S) is not None:
                    pass
        raise


async def animate_stream(gateway: Gateway, call: Call, requests: Requests) -> None:
    """Serves one Animate stream from `start` to `summary`."""
    session = await _open(gateway, call, requests)
    answers = Answers(session, capacity=gateway.offer.settings.window_frames)
    drawer = Drawer(session, answers)
    async with asyncio.TaskGroup() as tasks:
        idle_timeout_s = gateway.offer.settings.idle_timeout_s
        ear = Ear(requests, answers, idle_timeout_s)
        hearing = tasks.create_task(_hear(ear, session, drawer))
        tasks.create_task(drawer.run())
        await answers.send_all(call)
        await call.send(pb.AnimateResponse(summary=responses.summary(session.report)))
        hearing.cancel()


class Drawer:
    """Draws one utterance after the other; what it draws goes to the answers."""

    def __init__(self, session: Session, answers: Answers) -> None:
        self._session = session
        self._answers = answers
        self._waiting: asyncio.Queue[Speech | None] = asyncio.Queue(WAITING_UTTERANCES)
        self._drawing: asyncio.Task[None] | None = None
        self._last: Picture | None = None
        """The last picture drawn, unless it has been dropped."""

    async def add(self, speech: Speech | None) -> None:
        """Takes an utterance, whose audio may still come; None is the end of the stream."""
        await self._waiting.put(speech)

    async def interrupt(self) -> None:
        """Drops what has not been sent; nothing of it follows."""
        while not self._waiting.empty():
            if (speech := self._waiting.get_nowait()) is not None:
                speech.timeline.drop()
        if self._drawing is not None:
            self._drawing.cancel()
            await asyncio.wait([self._drawing])
        self._answers.interrupt()
        self._last = None

    async def run(self) -> None:
        """Draws until the end of the stream."""
        while (speech := await self._waiting.get()) is not None:
            self._drawing = asyncio.create_task(self._draw(speech))
            try:
                await asyncio.wait([self._drawing])
            finally:
                self._drawing.cancel()
            if not self._drawing.cancelled():
                self._drawing.result()
        await self._answers.end()

    async def _draw(self, speech: Speech) -> None:
        opening = None
        if self._session.job.continues:
            opening = self._answers.shown if self._last is None else self._last
        try:
            async for frame in self._session.frames(speech, opening):
                await self._answers.frame(frame)
                self._last = frame.picture
        finally:
            speech.timeline.drop()
        await self._answers.ended(speech)


async def _open(gateway: Gateway, call: Call, requests: Requests) -> Session:
    settings = gateway.offer.settings
    first = await _next(requests, settings.idle_timeout_s)
    if first is None:
        raise InvalidFieldError("start", "is missing: the stream ended without a message")
    job = read_start(first, gateway.offer)
    limits = AudioLimits(
        settings.max_stream_audio_s, "max_stream_audio", settings.max_buffered_audio_s
    )
    session = await open_session(gateway, job, limits)
    call.describe(job, session.report)
    started = responses.started(job, gateway.offer, call.request_id)
    await call.send(pb.AnimateResponse(started=started))
    for warning in responses.warnings(session.sitter):
        await call.send(pb.AnimateResponse(warning=warning))
    return session


@dataclass(frozen=True, slots=True)
class Ear:
    """Reads a client's messages, unless nothing has come or gone for too long."""

    requests: Requests
    answers: Answers
    idle_timeout_s: float

    async def next(self) -> pb.AnimateRequest | None:
        """Returns the client's next message, or None when it has half-closed.

        Raises:
            IdleClientError: for so long nothing was sent, in either direction.
        """
        reading = asyncio.ensure_future(_read(self.requests))
        now = asyncio.get_running_loop().time
        begun = now()
        try:
            while not reading.done():
                left_s = self.idle_timeout_s - (now() - max(begun, self.answers.sent_at))
                if left_s <= 0:
                    raise IdleClientError(self.idle_timeout_s)
                await asyncio.wait([reading], timeout=left_s)
            return reading.result()
        finally:
            reading.cancel()


async def _read(requests: Requests) -> pb.AnimateRequest | None:
    return await anext(requests, None)


async def _hear(ear: Ear, session: Session, drawer: Drawer) -> None:
    """Reads the client's messages; after the end of the audio only to refuse more."""
    speech: Speech | None = None
    utterances = 0
    while (request := await ear.next()) is not None:
        match request.WhichOneof("message"):
            case "audio":
                if speech is None:
                    speech = session.new_speech(utterances)
                    utterances += 1
                    await drawer.add(speech)
                await speech.push(request.audio.data, field="audio.data")
            case "end_of_utterance":
                if speech is not None:
                    await speech.finish()
                speech = None
            case "interrupt":
                speech = None
                await drawer.interrupt()
            case "end":
                break
            case "start":
                raise InvalidFieldError("start", "was sent twice; open a stream for each start")
            case None:
                raise InvalidFieldError("message", "is empty; send audio or end")
            case later:
                raise NotBuiltError(later)
    if speech is not None:
        await speech.finish()
    await drawer.add(None)
    async for request in ear.requests:
        kind = request.WhichOneof("message") or "message"
        raise InvalidFieldError(kind, "was sent after `end`; open a new stream")


async def _next(requests: Requests, timeout_s: float) -> pb.AnimateRequest | None:
    """Returns the client's next message, or None when it has half-closed."""
    try:
        async with asyncio.timeout(timeout_s):
            return await anext(requests, None)
    except TimeoutError as error:
        raise IdleClientError(timeout_s) from error
