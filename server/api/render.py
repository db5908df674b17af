"""The Render call: a complete piece of speech to frames, or to an MP4 with sound."""

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING

from echomimic.v1 import avatar_service_pb2 as pb

from server.api import responses
from server.api.calls import Call
from server.api.frames import encoded
from server.api.requests import read_render
from server.audio.clock import Clock
from server.audio.decoder import PcmDecoder
from server.errors import InvalidFieldError, MissingExtraError
from server.sessions.conversation import Conversation, converse
from server.sessions.events import Frame, Notice
from server.sessions.gateway import Gateway
from server.sessions.jobs import Job
from server.sessions.speech import AudioLimits

if TYPE_CHECKING:
    from echomimic_client.mp4 import Mp4Writer

CHUNK_BYTES = 1 << 20
EXACT_MODULES = ("cv2", "pyloudnorm")


async def render(gateway: Gateway, call: Call) -> None:
    """Serves one Render call."""
    settings = gateway.offer.settings
    with gateway.admission.opening(call.caller):
        request = await call.read(pb.RenderRequest, settings.start_timeout_s)
        if request is None:
            raise InvalidFieldError("message", "is missing: the call ended without a request")
        job = read_render(request, gateway.offer)
        _check_extras(request, job)
    longest_s = settings.max_render_audio_s
    limits = AudioLimits(longest_s, "max_render_audio", max_buffered_s=longest_s)
    async with (
        gateway.admission.place(call.caller),
        converse(gateway, job, limits) as conversation,
    ):
        job = conversation.job
        call.describe(job, conversation.report)
        await conversation.push_audio(request.audio, field="audio")
        await conversation.end()
        samples = conversation.report.audio_samples
        total = gateway.total_frames(job, samples)
        started = responses.started(job, gateway.offer, gateway.window_times, call.request_id)
        await call.send(pb.RenderResponse(started=started))
        for notice in (*call.notices, *conversation.notices, *_shortened(job, total, samples)):
            await call.send(pb.RenderResponse(warning=responses.warning(notice)))
        if request.output == pb.RENDER_OUTPUT_FRAMES:
            await _send_frames(call, conversation)
        else:
            await _send_mp4(call, conversation, total, request.audio)
        await call.send(pb.RenderResponse(summary=responses.summary(conversation.report)))


def _check_extras(request: pb.RenderRequest, job: Job) -> None:
    if request.output != pb.RENDER_OUTPUT_FRAMES and find_spec("av") is None:
        raise MissingExtraError("MP4 output", "mp4")
    if job.exact is not None and not all(find_spec(name) for name in EXACT_MODULES):
        raise MissingExtraError("an exact clip", "exact")


def _shortened(job: Job, frames: int, samples: int) -> tuple[Notice, ...]:
    """Returns that an exact clip has fewer frames than its speech, if so."""
    rate = job.video_format.retiming.frame_rate
    of_speech = Clock(job.audio_format.sample_rate_hz, rate).frame_count(samples)
    if frames >= of_speech:
        return ()
    message = f"{of_speech - frames} of {of_speech} frames are not made: windows do not reach them"
    return (Notice("CLIP_SHORTENED", message),)


async def _send_frames(call: Call, conversation: Conversation) -> None:
    async for event in conversation.events():
        match event:
            case Frame():
                frame = await encoded(event, conversation.job.video_format, call.recorder)
                await call.send(pb.RenderResponse(frame=frame))
                call.frame_sent(conversation.report, event)
            case Notice():
                await call.send(pb.RenderResponse(warning=responses.warning(event)))
            case _:
                # A clip is one utterance, from beginning to end.
                pass


async def _send_mp4(call: Call, conversation: Conversation, total: int, audio: bytes) -> None:
    job, report = conversation.job, conversation.report
    writer = await asyncio.to_thread(_mp4_writer, job)
    windows = 0
    async for event in conversation.events():
        match event:
            case Frame():
                await asyncio.to_thread(writer.add_pictures, event.picture[None])
                call.frame_sent(report, event)
                if report.windows > windows or report.frames == total:
                    windows = report.windows
                    progress = pb.Progress(frames=report.frames, total_frames=total)
                    await call.send(pb.RenderResponse(progress=progress))
            case Notice():
                await call.send(pb.RenderResponse(warning=responses.warning(event)))
            case _:
                pass
    decoder = PcmDecoder(job.audio_format)
    samples = await asyncio.to_thread(decoder.push, audio, field="audio")
    heard = Clock(
        job.audio_format.sample_rate_hz, job.video_format.retiming.frame_rate
    ).first_sample(total)
    data = await asyncio.to_thread(writer.finish, samples[:heard])
    for start in range(0, len(data), CHUNK_BYTES):
        chunk = pb.Mp4Chunk(data=data[start : start + CHUNK_BYTES])
        await call.send(pb.RenderResponse(mp4_chunk=chunk))


def _mp4_writer(job: Job) -> "Mp4Writer":
    # Loading FFmpeg takes a moment, and not every installation has it.
    from echomimic_client.mp4 import Mp4Writer

    video_format = job.video_format
    return Mp4Writer(
        video_format.width,
        video_format.height,
        video_format.retiming.frame_rate,
        job.audio_format.sample_rate_hz,
    )
