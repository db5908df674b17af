"""The Render call: a complete piece of speech to frames, or to a film with sound."""

from importlib.util import find_spec

from echomimic.v1 import avatar_service_pb2 as pb

from server.api import avatars, responses
from server.api.calls import Call
from server.api.films import check_film, send_film
from server.api.frames import Frames
from server.api.requests import read_render
from server.audio.clock import Clock
from server.errors import MissingExtraError
from server.sessions.conversation import Conversation, converse
from server.sessions.events import Frame, Notice
from server.sessions.gateway import Gateway
from server.sessions.jobs import Job
from server.sessions.speech import AudioLimits

EXACT_MODULES = ("cv2", "pyloudnorm")


async def render(gateway: Gateway, call: Call) -> None:
    """Serves one Render call."""
    settings = gateway.offer.settings
    with gateway.admission.opening(call.caller):
        request = await call.read_one(pb.RenderRequest, settings.start_timeout_s)
        avatar = await avatars.stated(gateway, call, request, "")
        job = read_render(request, gateway.offer, avatar)
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
        own = gateway.limits_of(call.caller)
        started = responses.started(job, gateway.offer, gateway.window_times, own, call.request_id)
        await call.send(pb.RenderResponse(started=started))
        for notice in (*call.notices, *conversation.notices, *_shortened(job, total, samples)):
            await call.send(pb.RenderResponse(warning=responses.warning(notice)))
        if request.output == pb.RENDER_OUTPUT_FRAMES:
            await _send_frames(call, conversation)
        else:
            await send_film(call, conversation, total, request.audio, request.output)
        await call.send(pb.RenderResponse(summary=responses.summary(conversation.report)))


def _check_extras(request: pb.RenderRequest, job: Job) -> None:
    check_film(request.output)
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
    frames = Frames(conversation.job.video_format, call.recorder)
    async for event in conversation.events():
        match event:
            case Frame():
                await call.send(pb.RenderResponse(frame=await frames.message(event)))
                call.frame_sent(conversation.report, event)
            case Notice():
                await call.send(pb.RenderResponse(warning=responses.warning(event)))
            case _:
                # A clip is one utterance, from beginning to end.
                pass
