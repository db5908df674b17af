"""The ModelStreamInfer call: each request by itself, or a part of a sequence, is speech to draw.

A request by itself is the first and the last one of a talk. The call ends when the client has
half-closed, which ends its sequences, and everything is answered.
"""

# The library's own annotations are missing or partial.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import asyncio
import time
from typing import Any

from tritonclient.grpc import service_pb2

from server.api.avatars import find
from server.api.calls import Call
from server.api.kserve import messages
from server.api.kserve.messages import Request
from server.api.kserve.model import Statistics
from server.api.kserve.parameters import AVATAR
from server.api.kserve.talk import Talk
from server.api.status import reason_of, to_status
from server.errors import AvatarError, InvalidFieldError
from server.sessions.gateway import Gateway
from server.sessions.jobs import Job
from server.sessions.sitter import Avatar
from server.sessions.speech import AudioLimits

ModelInferRequest: Any = getattr(service_pb2, "ModelInferRequest")  # noqa: B009


async def stream_infer(
    gateway: Gateway, call: Call, statistics: Statistics, portrait: bytes | None
) -> None:
    """Serves one ModelStreamInfer call."""
    settings = gateway.offer.settings
    with gateway.admission.opening(call.caller):
        message = await call.read(ModelInferRequest, settings.start_timeout_s)
    await call.send_headers()
    async with asyncio.TaskGroup() as tasks:
        talks = Talks(gateway, call, statistics, portrait, tasks)
        while message is not None:
            await talks.take(message)
            message = await call.read_unless_idle(
                ModelInferRequest, settings.idle_timeout_s, lambda: talks.is_working
            )
        await talks.end()


class Talks:
    """The talks of one call."""

    def __init__(
        self,
        gateway: Gateway,
        call: Call,
        statistics: Statistics,
        portrait: bytes | None,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Begins with none.

        Args:
            gateway: draws.
            call: by which requests come.
            statistics: told how each request ended.
            portrait: of requests that have none; None where the server has none either.
            tasks: of the call.
        """
        self._gateway = gateway
        self._call = call
        self._statistics = statistics
        self._portrait = portrait
        self._tasks = tasks
        self._running: set[Talk] = set()
        self._sequences: dict[int | str, Talk] = {}
        """Those that further requests may belong to."""
        self._sending = asyncio.Lock()

    @property
    def is_working(self) -> bool:
        """Whether something is left to do for which the client need not send more."""
        return any(talk.is_working for talk in self._running)

    async def take(self, message: Any) -> None:
        """Takes a request, or answers why not.

        Waits until its talk has begun, so that nothing heaps up before one that is refused.
        """
        came_ns = time.monotonic_ns()
        try:
            request = messages.read_request(message)
            await self._take(request)
        except AvatarError as error:
            self._statistics.failed(time.monotonic_ns() - came_ns)
            await self._send(messages.refusal(message.id, reason_of(error), to_status(error)))

    async def end(self) -> None:
        """Ends the sequences that the client has left open."""
        for talk in list(self._sequences.values()):
            await talk.end()

    async def _take(self, request: Request) -> None:
        talk = self._sequences.get(request.sequence)
        if request.starts:
            talk = self._begin(request, await self._avatar(request))
        if talk is None:
            problem = "is of no sequence of this stream; set sequence_start on its first request"
            raise InvalidFieldError("parameters.sequence_id", problem)
        if request.ends:
            self._sequences.pop(request.sequence, None)
        await talk.feed(request)
        await talk.open.wait()

    async def _avatar(self, request: Request) -> Avatar | None:
        avatar_id = request.parameters.get(AVATAR)
        if avatar_id is None:
            return None
        return await find(self._gateway, self._call, str(avatar_id), f"parameters.{AVATAR}")

    def _begin(self, request: Request, avatar: Avatar | None) -> Talk:
        if request.sequence in self._sequences:
            problem = "is of a sequence that goes on; end that one first, or take another id"
            raise InvalidFieldError("parameters.sequence_id", problem)
        job = messages.read_job(request, self._gateway.offer, avatar, self._portrait)
        talk = Talk(self._gateway, self._call, self._send, self._statistics)
        self._running.add(talk)
        if request.sequence:
            self._sequences[request.sequence] = talk
        self._tasks.create_task(self._run(talk, request, job))
        return talk

    async def _run(self, talk: Talk, request: Request, job: Job) -> None:
        try:
            await talk.run(job, self._limits(request))
        finally:
            self._running.discard(talk)
            if self._sequences.get(request.sequence) is talk:
                del self._sequences[request.sequence]

    def _limits(self, request: Request) -> AudioLimits:
        settings = self._gateway.offer.settings
        if request.ends:
            longest_s = settings.max_render_audio_s
            return AudioLimits(longest_s, "max_render_audio", max_buffered_s=longest_s)
        return AudioLimits(
            settings.max_stream_audio_s, "max_stream_audio", settings.max_buffered_audio_s
        )

    async def _send(self, message: Any) -> None:
        # gRPC sends one message at a time.
        async with self._sending:
            await self._call.send(message)
