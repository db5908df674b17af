"""One stream of speech: requests feed a conversation, and its frames answer them.

feed -> queue -> Conversation -> frames, each an answer to the request in whose audio it begins
"""

# The library's own annotations are partial.
# pyright: reportUnknownMemberType=false

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from server.api.calls import Call, facts_of_video
from server.api.frames import Frames
from server.api.kserve import messages
from server.api.kserve.messages import Request
from server.api.kserve.model import AUDIO, Statistics
from server.api.status import facts_of, reason_of, to_status
from server.errors import (
    InvalidFieldError,
    LimitError,
    ShuttingDownError,
    SlowReaderError,
    cause_of,
)
from server.notices import Notice
from server.sessions.conversation import Conversation, converse
from server.sessions.events import Frame
from server.sessions.gateway import Gateway
from server.sessions.jobs import Job
from server.sessions.speech import AudioLimits

MAX_UNANSWERED = 8192
"""Requests of a talk whose frames have not all left: chunks of 0.1 s that wait to be animated."""
ENDS_THE_CALL = (SlowReaderError, ShuttingDownError)
"""What no other request of the call could be answered after."""

log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class _Asked:
    """A request, and the sample of its talk's audio that follows its own."""

    request: Request
    end: int
    came_ns: int = field(default_factory=time.monotonic_ns)


class Talk:
    """A stream of speech, from its first request to its last answer."""

    def __init__(
        self,
        gateway: Gateway,
        call: Call,
        send: Callable[[Any], Awaitable[None]],
        statistics: Statistics,
    ) -> None:
        """Begins with nothing said.

        Args:
            gateway: draws.
            call: that the requests came by.
            send: answers by it, one after the other.
            statistics: told how each request ended.
        """
        self.open = asyncio.Event()
        """That speech is taken, or will never be."""
        self._gateway = gateway
        self._call = call
        self._send = send
        self._statistics = statistics
        self._conversation: Conversation | None = None
        self._began_ns = 0
        self._samples = 0
        self._unanswered: deque[_Asked] = deque()
        self._to_feed: asyncio.Queue[Request | None] = asyncio.Queue(1)
        self._notices: list[Notice] = []

    @property
    def is_working(self) -> bool:
        """Whether something is left to do for which the client need not send more."""
        return self._conversation is None or self._conversation.is_working

    async def feed(self, request: Request) -> None:
        """Takes a request of this talk, in its order.

        Raises:
            LimitError: too many have not been answered.
        """
        if len(self._unanswered) >= MAX_UNANSWERED:
            problem = f"{MAX_UNANSWERED} requests of the sequence wait for their frames"
            raise LimitError("max_unanswered_requests", problem)
        self._samples += request.samples
        self._unanswered.append(_Asked(request, self._samples))
        await self._to_feed.put(request)

    async def end(self) -> None:
        """Says that nothing more will be said."""
        await self._to_feed.put(None)

    async def run(self, job: Job, limits: AudioLimits) -> None:
        """Draws until the end; whatever goes wrong answers the requests that are left."""
        try:
            async with (
                self._gateway.admission.place(self._call.caller),
                converse(self._gateway, job, limits) as conversation,
            ):
                await self._converse(conversation)
            while self._unanswered:
                await self._answered(self._unanswered.popleft())
        except ENDS_THE_CALL:
            raise
        except Exception as error:
            cause = cause_of(error)
            if isinstance(cause, ENDS_THE_CALL):
                raise cause from error
            await self._fail(cause)
        finally:
            self._close()

    async def _converse(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._began_ns = time.monotonic_ns()
        self._notices.extend((*self._call.notices, *conversation.notices))
        self.open.set()
        async with asyncio.TaskGroup() as tasks:
            feeding = tasks.create_task(self._feed(conversation))
            frames = Frames(conversation.job.video_format, self._call.recorder)
            async for event in conversation.events():
                match event:
                    case Frame():
                        await self._frame(conversation, frames, event)
                    case Notice():
                        self._notices.append(event)
                    case _:
                        # A talk is one utterance, from beginning to end.
                        pass
            feeding.cancel()

    async def _feed(self, conversation: Conversation) -> None:
        while (request := await self._to_feed.get()) is not None:
            if not request.starts and request.parameters:
                name = next(iter(request.parameters))
                problem = "is stated by the first request of a sequence only; leave it out"
                raise InvalidFieldError(f"parameters.{name}", problem)
            # Whoever only ends a sequence need not say anything.
            if request.samples or request.starts or not request.ends:
                await conversation.push_audio(request.audio, field=AUDIO.name)
            if request.ends:
                break
        await conversation.end()

    async def _frame(self, conversation: Conversation, frames: Frames, event: Frame) -> None:
        while self._unanswered[0].end <= event.audio_sample:
            await self._answered(self._unanswered.popleft())
        frame = await frames.message(event)
        request = self._unanswered[0].request
        await self._send(messages.response(request, frame, self._warnings()))
        self._call.frame_sent(conversation.report, event)

    async def _answered(self, asked: _Asked) -> None:
        now_ns = time.monotonic_ns()
        begun_ns = max(asked.came_ns, self._began_ns)
        self._statistics.succeeded(begun_ns - asked.came_ns, now_ns - begun_ns)
        if asked.request.wants_end:
            await self._send(messages.last_response(asked.request, self._warnings()))

    def _warnings(self) -> str:
        """Returns what has been noticed since this was last asked."""
        noticed, self._notices = self._notices, []
        return "; ".join(f"{notice.reason}: {notice.message}" for notice in noticed)

    async def _fail(self, error: BaseException) -> None:
        status, reason = to_status(error), reason_of(error)
        facts = {"request_id": self._call.request_id, "reason": reason, **facts_of(error)}
        log.warning("speech fails", requests=len(self._unanswered), **facts)
        while self._unanswered:
            asked = self._unanswered.popleft()
            self._statistics.failed(time.monotonic_ns() - asked.came_ns)
            await self._send(messages.refusal(asked.request.id, reason, status))

    def _close(self) -> None:
        self.open.set()
        # Whoever waits to feed has been answered.
        while not self._to_feed.empty():
            self._to_feed.get_nowait()
        if self._conversation is not None:
            report = self._conversation.report
            self._call.video_ended(report)
            log.info("speech ends", request_id=self._call.request_id, **facts_of_video(report))
