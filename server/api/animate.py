"""The Animate stream: messages to a conversation's verbs, its events to messages.

client -> listen -> Conversation -> events -> encode -> client
"""

import asyncio

from echomimic.v1 import avatar_service_pb2 as pb

from server.api import avatars, responses
from server.api.calls import Call
from server.api.frames import Frames
from server.api.requests import read_generation, read_start
from server.errors import InvalidFieldError, LimitError
from server.sessions.conversation import Conversation, converse
from server.sessions.events import Frame, Interrupted, Sign
from server.sessions.gateway import Gateway
from server.sessions.jobs import Job
from server.sessions.speech import AudioLimits
from server.triton.contract import Variant

MAX_STREAM_AUDIO = "max_stream_audio"
EXPIRING_S = 60.0
"""With so much audio left a client is told, or with a tenth of a lower limit."""


async def animate(gateway: Gateway, call: Call) -> None:
    """Serves one Animate stream from `start` to `summary`."""
    settings = gateway.offer.settings
    with gateway.admission.opening(call.caller):
        job = await _read_start(gateway, call)
    longest_s = settings.max_stream_audio_s
    limits = AudioLimits(
        *(longest_s, MAX_STREAM_AUDIO, settings.max_buffered_audio_s),
        told_s=min(EXPIRING_S, longest_s / 10),
        resumable_s=settings.resumable_audio_s,
    )
    async with (
        gateway.admission.place(call.caller),
        converse(gateway, job, limits) as conversation,
    ):
        call.describe(conversation.job, conversation.report)
        own = gateway.limits_of(call.caller)
        started = responses.started(
            conversation.job, gateway.offer, gateway.window_times, own, call.request_id
        )
        await call.send(pb.AnimateResponse(started=started))
        for notice in (*call.notices, *conversation.notices):
            await call.send(pb.AnimateResponse(warning=responses.warning(notice)))
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(listen(call, conversation, settings.idle_timeout_s))
            warning = tasks.create_task(_warn_of_the_end(gateway, conversation))
            await _answer(call, conversation, gateway.offer.manifest.variant)
            warning.cancel()
            refused = listening.result() if listening.done() else None
            listening.cancel()
        if refused is not None:
            raise refused
        summary = responses.summary(conversation.report)
        await call.send(pb.AnimateResponse(summary=summary))


async def _read_start(gateway: Gateway, call: Call) -> Job:
    message = await call.read(pb.AnimateRequest, gateway.offer.settings.start_timeout_s)
    if message is None:
        raise InvalidFieldError("start", "is missing: the stream ended without a message")
    avatar = await avatars.stated(gateway, call, message.start, "start.")
    return read_start(message, gateway.offer, avatar)


async def _answer(call: Call, conversation: Conversation, variant: Variant) -> None:
    frames = Frames(conversation.job.video_format, call.recorder)
    async for event in conversation.events():
        if isinstance(event, Frame):
            message = pb.AnimateResponse(frame=await frames.message(event))
            await call.send(message, unasked=event.is_idle)
            call.frame_sent(conversation.report, event)
        else:
            if isinstance(event, Interrupted):
                frames.restart()
            unasked = isinstance(event, Sign)
            await call.send(responses.event(event, variant), unasked=unasked)


async def _warn_of_the_end(gateway: Gateway, conversation: Conversation) -> None:
    await gateway.admission.closing()
    grace_s = gateway.offer.settings.shutdown_grace_s
    message = "this server is going down; end the stream, and open one on another"
    conversation.expires("SHUTTING_DOWN", grace_s, message)


async def listen(
    call: Call, conversation: Conversation, idle_timeout_s: float
) -> LimitError | None:
    """Passes on what the client says, until it is over.

    Returns:
        What the call ends with, once what was said before is animated, if the audio got too long.

    Raises:
        IdleClientError: the client has been silent for too long.
        InvalidFieldError: a message cannot be used.
        LimitError: too much waits.
    """
    try:
        await _pass_on(call, conversation, idle_timeout_s)
    except LimitError as error:
        if error.limit != MAX_STREAM_AUDIO:
            raise
        await conversation.end()
        return error
    return None


async def _pass_on(call: Call, conversation: Conversation, idle_timeout_s: float) -> None:
    """Passes on messages; after the end of the audio it refuses whatever follows."""

    async def next_message(*, is_silent: bool) -> pb.AnimateRequest | None:
        return await call.read_unless_idle(
            pb.AnimateRequest, idle_timeout_s, lambda: conversation.is_working, is_silent=is_silent
        )

    is_ping = False
    while (request := await next_message(is_silent=is_ping)) is not None:
        is_ping = request.HasField("ping")
        match request.WhichOneof("message"):
            case "audio":
                await conversation.push_audio(request.audio.data, field="audio.data")
            case "end_of_utterance":
                await conversation.end_utterance()
            case "interrupt":
                conversation.interrupt()
            case "played":
                conversation.played(request.played.last_frame_index, field="played")
            case "resume":
                await conversation.resume(field="resume")
            case "ping":
                conversation.ping(request.ping.ping_id, field="ping")
            case "listening":
                conversation.listening(request.listening.active)
            case "update":
                asked = request.update
                stated = read_generation(asked.generation)
                conversation.update(asked.update_id, stated, field="update")
            case "end":
                break
            case "start":
                raise InvalidFieldError("start", "was sent twice; open a stream for each start")
            case _:
                raise InvalidFieldError("message", "is empty; send audio or end")
    await conversation.end()
    while (request := await call.read(pb.AnimateRequest)) is not None:
        kind = request.WhichOneof("message") or "message"
        raise InvalidFieldError(kind, "was sent after `end`; open a new stream")
