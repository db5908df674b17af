"""The Render call: a complete piece of speech to frames, or to an MP4 with sound."""

import asyncio
from importlib.util import find_spec

from echomimic.v1 import avatar_service_pb2 as pb

from server.api import responses
from server.api.calls import Call
from server.api.requests import read_render
from server.audio.clock import FRAME_RATE
from server.audio.pcm import decode_pcm
from server.errors import MissingExtraError
from server.sessions.conversation import Session, open_session
from server.sessions.gateway import Gateway
from server.sessions.jobs import Job
from server.sessions.speech import AudioLimits, Speech

CHUNK_BYTES = 1 << 20
EXACT_MODULES = ("cv2", "pyloudnorm")


async def render(gateway: Gateway, call: Call, request: pb.RenderRequest) -> None:
    """Serves one Render call."""
    job = read_render(request, gateway.offer)
    if request.output != pb.RENDER_OUTPUT_FRAMES and find_spec("av") is None:
        raise MissingExtraError("MP4 output", "mp4")
    if job.exact is not None and not all(find_spec(name) for name in EXACT_MODULES):
        raise MissingExtraError("an exact clip", "exact")
    longest_s = gateway.offer.settings.max_render_audio_s
    limits = AudioLimits(longest_s, "max_render_audio", max_buffered_s=longest_s)
    session = await open_session(gateway, job, limits)
    call.describe(job, session.report)
    speech = session.new_speech(0)
    await speech.push(request.audio, field="audio")
    await speech.finish()
    total = _total_frames(gateway, session.job, speech)
    started = responses.started(session.job, gateway.offer, call.request_id)
    await call.send(pb.RenderResponse(started=started))
    warnings = responses.warnings(session.sitter)
    if total < speech.clock.frame_count(speech.samples):
        warnings.append(responses.shortened(total, speech.clock.frame_count(speech.samples)))
    for warning in warnings:
        await call.send(pb.RenderResponse(warning=warning))
    if request.output == pb.RENDER_OUTPUT_FRAMES:
        await _send_frames(call, session, speech)
    else:
        await _send_mp4(call, session, speech, total, request.audio)
    await call.send(pb.RenderResponse(summary=responses.summary(session.report)))


async def _send_frames(call: Call, session: Session, speech: Speech) -> None:
    async for encoded in session.frames(speech):
        frame = responses.frame(encoded.number, encoded, session.job.video_format)
        await call.send(pb.RenderResponse(frame=frame))
        session.report.frame_sent()


def _total_frames(gateway: Gateway, job: Job, speech: Speech) -> int:
    if job.exact is not None:
        return gateway.exact_frames(job.exact, speech, job.video_format.size)
    return speech.clock.frame_count(speech.samples)


async def _send_mp4(call: Call, session: Session, speech: Speech, total: int, audio: bytes) -> None:
    from echomimic_client.mp4 import Mp4Writer

    job, report = session.job, session.report
    writer = Mp4Writer(
        job.video_format.width, job.video_format.height, FRAME_RATE, job.audio_format.sample_rate_hz
    )
    async for clip in session.clips(speech):
        await asyncio.to_thread(writer.add_pictures, clip.pictures)
        for _ in clip.pictures:
            report.frame_sent()
        progress = pb.Progress(frames=report.frames, total_frames=total)
        await call.send(pb.RenderResponse(progress=progress))
    samples = await asyncio.to_thread(decode_pcm, audio, job.audio_format, field="audio")
    heard = speech.clock.first_sample(total)
    data = await asyncio.to_thread(writer.finish, samples[:heard])
    for start in range(0, len(data), CHUNK_BYTES):
        chunk = pb.Mp4Chunk(data=data[start : start + CHUNK_BYTES])
        await call.send(pb.RenderResponse(mp4_chunk=chunk))
