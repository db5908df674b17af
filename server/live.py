"""The Animate stream: three tasks, one each for hearing, drawing and answering.

    client -> hear -> speech timeline -> draw -> queue of frames -> answer -> client

The queue and the timeline are bounded, so a client that does not read holds up its own drawing,
and then its own hearing. The first task that fails ends the others.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from echomimic.v1 import avatar_service_pb2 as pb

from server.calls import Call
from server.errors import IdleClientError, InvalidFieldError, NotBuiltError
from server.gateway import Gateway
from server.session import Session, open_session
from server.speech import Speech
from server.wire import responses
from server.wire.requests import read_start

Requests = AsyncIterator[pb.AnimateRequest]
Frames = asyncio.Queue[pb.Frame | None]

HEAR_OUT_S = 0.5
QUIET_S = 0.02


@asynccontextmanager
async def hearing_out(requests: Requests) -> AsyncGenerator[None]:
    """Reads what the client has on its way before a refusal reaches it.

    grpc.aio clients that are still writing when a call ends report INTERNAL in place of its status.
    """
    try:
        yield
    except Exception:
        with contextlib.suppress(TimeoutError, IdleClientError):
            async with asyncio.timeout(HEAR_OUT_S):
                while await _next(requests, QUIET_S) is not None:
                    pass
        raise


async def animate_stream(gateway: Gateway, call: Call, requests: Requests) -> None:
    """Serves one Animate stream from `start` to `summary`."""
    session = await _open(gateway, call, requests)
    frames: Frames = asyncio.Queue(gateway.offer.settings.window_frames)
    async with asyncio.TaskGroup() as tasks:
        idle_timeout_s = gateway.offer.settings.idle_timeout_s
        hearing = tasks.create_task(_hear(requests, session.speech, idle_timeout_s))
        tasks.create_task(_draw(session, frames))
        while (frame := await frames.get()) is not None:
            await call.send(pb.AnimateResponse(frame=frame))
            session.report.frame_sent()
        await call.send(pb.AnimateResponse(summary=responses.summary(session.report)))
        hearing.cancel()


async def _open(gateway: Gateway, call: Call, requests: Requests) -> Session:
    settings = gateway.offer.settings
    first = await _next(requests, settings.idle_timeout_s)
    if first is None:
        raise InvalidFieldError("start", "is missing: the stream ended without a message")
    job = read_start(first, gateway.offer)
    session = await open_session(
        gateway,
        job,
        max_audio_s=settings.max_stream_audio_s,
        limit="max_stream_audio",
        max_buffered_s=settings.max_buffered_audio_s,
    )
    call.describe(job, session.report)
    started = responses.started(job, gateway.offer, call.request_id)
    await call.send(pb.AnimateResponse(started=started))
    for warning in responses.warnings(session.sitter):
        await call.send(pb.AnimateResponse(warning=warning))
    return session


async def _hear(requests: Requests, speech: Speech, idle_timeout_s: float) -> None:
    """Reads the client's messages; after the end of the audio only to refuse more."""
    while (request := await _next(requests, idle_timeout_s)) is not None:
        match request.WhichOneof("message"):
            case "audio":
                await speech.push(request.audio.data, field="audio.data")
            case "end":
                break
            case "start":
                raise InvalidFieldError("start", "was sent twice; open a stream for each start")
            case None:
                raise InvalidFieldError("message", "is empty; send audio or end")
            case later:
                raise NotBuiltError(later)
    await speech.finish()
    async for request in requests:
        kind = request.WhichOneof("message") or "message"
        raise InvalidFieldError(kind, "was sent after `end`; open a new stream")


async def _draw(session: Session, frames: Frames) -> None:
    async for frame in session.frames():
        await frames.put(frame)
    await frames.put(None)


async def _next(requests: Requests, timeout_s: float) -> pb.AnimateRequest | None:
    """Returns the client's next message, or None when it has half-closed."""
    try:
        async with asyncio.timeout(timeout_s):
            return await anext(requests, None)
    except TimeoutError as error:
        raise IdleClientError(timeout_s) from error
