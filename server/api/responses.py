"""Results to protobuf messages."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from echomimic.v1 import avatar_service_pb2 as pb
from google.protobuf import duration_pb2

from server.animation.clip import ExactClip
from server.animation.defaults import SETTINGS
from server.animation.teacache import TeaCache
from server.animation.windows import WindowSpec
from server.api.requests import (
    AUDIO_ENCODINGS,
    FRAME_ENCODINGS,
    IDLE_MODES,
    SAMPLERS,
    TEACACHE_POLICIES,
)
from server.api.status import reason_of
from server.audio.clock import NANOSECONDS, presentation_time_ns
from server.errors import InvalidFieldError
from server.pictures.encoding import FrameEncoding
from server.sessions.admission import OwnLimits
from server.sessions.events import (
    Answer,
    AudioPosition,
    BufferState,
    Expiring,
    Frame,
    Heartbeat,
    Interrupted,
    Notice,
    Pong,
    Resumed,
    ResumeRefused,
    Sign,
    Updated,
    UpdateRefused,
    UtteranceBegan,
    UtteranceEnded,
)
from server.sessions.hearing import MAX_WAITING_UTTERANCES
from server.sessions.jobs import SAMPLERS as OFFERED_SAMPLERS
from server.sessions.jobs import GenerationSettings, Job, Offer, VideoFormat
from server.sessions.outbox import MAX_UNREAD_ANSWERS
from server.sessions.report import Report
from server.sessions.updates import MAX_WAITING_UPDATES
from server.sessions.window_times import Kind, WindowTimes
from server.settings import MAX_BUFFER_S
from server.triton.contract import Variant

_AUDIO_ENCODING = {ours: theirs for theirs, ours in AUDIO_ENCODINGS.items()}
_FRAME_ENCODING = {ours: theirs for theirs, ours in FRAME_ENCODINGS.items()}
_IDLE_MODE = {ours: theirs for theirs, ours in IDLE_MODES.items()}
_SAMPLER = {ours: theirs for theirs, ours in SAMPLERS.items()}
_TEACACHE_POLICY = {ours: theirs for theirs, ours in TEACACHE_POLICIES.items()}


def started(
    job: Job, offer: Offer, times: WindowTimes, own: OwnLimits, request_id: str
) -> pb.Started:
    """Returns the settings in force; ``own`` are the limits of its caller."""
    spec = offer.windows if job.exact is None else _exact_windows(job.exact, offer)
    kind = Kind.of(job.generation, job.video_format.size)
    return pb.Started(
        request_id=request_id,
        client_session_id=job.client_session_id,
        audio_format=pb.AudioFormat(
            encoding=_AUDIO_ENCODING[job.audio_format.encoding],
            sample_rate_hz=job.audio_format.sample_rate_hz,
            channels=job.audio_format.channels,
        ),
        video_format=pb.VideoFormat(
            encoding=_FRAME_ENCODING[job.video_format.encoding],
            width=job.video_format.width,
            height=job.video_format.height,
            jpeg_quality=job.video_format.jpeg_quality,
            frames_per_second=job.video_format.retiming.frame_rate.numerator,
            frames_per_second_denominator=job.video_format.retiming.frame_rate.denominator,
            blend_frames=job.video_format.retiming.blends,
        ),
        generation=_generation(job.generation, offer.manifest.variant),
        windows=_windows(spec, times.advised_buffer_s(kind, spec)),
        limits=_limits(offer, own),
        idle_mode=_IDLE_MODE[job.idle],
        pace=pb.PACE_REALTIME if job.pace.is_realtime else pb.PACE_AS_FAST_AS_POSSIBLE,
        buffer=_seconds(job.pace.buffer_s),
        blink_over_speech=job.blinks,
        audio_position_interval=_interval(job.intervals.position_s),
        heartbeat_interval=_interval(job.intervals.heartbeat_s),
        min_steps=job.min_steps,
    )


def _exact_windows(exact: ExactClip, offer: Offer) -> WindowSpec:
    """Returns how a whole clip is cut; its features have no bounded context."""
    frames = exact.window_frames
    overlap = 0 if offer.manifest.variant == "flash" else exact.overlap_frames
    return WindowSpec((frames,), overlap, audio_lookahead=0, audio_left_context=0)


def frame(frame: Frame, data: bytes, video_format: VideoFormat, *, is_key: bool) -> pb.Frame:
    """Returns a frame, encoded, with its place in the call and in time."""
    return pb.Frame(
        index=frame.index,
        utterance_id=frame.utterance_id,
        presentation_time=_duration(
            presentation_time_ns(frame.index, video_format.retiming.frame_rate)
        ),
        first_audio_sample=frame.audio_sample,
        kind=_kind(frame),
        encoding=_FRAME_ENCODING[video_format.encoding],
        width=video_format.width,
        height=video_format.height,
        data=data,
        key_frame=is_key,
    )


def _kind(frame: Frame) -> pb.FrameKind:
    if not frame.is_idle:
        return pb.FRAME_KIND_SPEECH
    return pb.FRAME_KIND_LISTENING if frame.is_listening else pb.FRAME_KIND_IDLE


def event(
    event: Answer | Sign | UtteranceBegan | UtteranceEnded | BufferState, variant: Variant
) -> pb.AnimateResponse:
    """Returns what a conversation answers besides frames."""
    match event:
        case Notice():
            return pb.AnimateResponse(warning=warning(event))
        case Expiring():
            return pb.AnimateResponse(stream_expiring=_expiring(event))
        case Updated():
            return pb.AnimateResponse(updated=_updated(event, variant))
        case UpdateRefused():
            return pb.AnimateResponse(update_refused=_update_refused(event))
        case UtteranceBegan():
            return pb.AnimateResponse(utterance=_utterance(event, pb.UTTERANCE_PHASE_BEGAN))
        case UtteranceEnded():
            return pb.AnimateResponse(utterance=_utterance(event, pb.UTTERANCE_PHASE_ENDED))
        case BufferState():
            return pb.AnimateResponse(buffer=_buffer(event))
        case Interrupted():
            return pb.AnimateResponse(interrupted=pb.Interrupted(**asdict(event)))
        case Resumed():
            return pb.AnimateResponse(resumed=pb.Resumed(**asdict(event)))
        case AudioPosition():
            return pb.AnimateResponse(audio_position=pb.AudioPosition(**asdict(event)))
        case Pong():
            return pb.AnimateResponse(pong=pb.Pong(ping_id=event.ping_id))
        case Heartbeat():
            return pb.AnimateResponse(heartbeat=pb.Heartbeat())
        case ResumeRefused():
            return pb.AnimateResponse(resume_refused=pb.ResumeRefused(**asdict(event)))


def warning(notice: Notice) -> pb.Warning:
    """Returns a notice."""
    return pb.Warning(reason=notice.reason, message=notice.message)


def _expiring(event: Expiring) -> pb.StreamExpiring:
    remaining = _seconds(event.remaining_s)
    return pb.StreamExpiring(reason=event.reason, message=event.message, remaining=remaining)


def _buffer(state: BufferState) -> pb.Buffer:
    return pb.Buffer(
        level=_seconds(state.level_s),
        filling=state.is_filling,
        underruns=state.underruns,
        realtime_factor=state.realtime_factor,
    )


def _updated(event: Updated, variant: Variant) -> pb.Updated:
    return pb.Updated(
        update_id=event.update_id,
        generation=_generation(event.generation, variant),
        utterance_id=event.utterance_id,
        window=event.window,
        frame_index=event.frame_index,
    )


def _update_refused(event: UpdateRefused) -> pb.UpdateRefused:
    return pb.UpdateRefused(
        update_id=event.update_id,
        reason=reason_of(event.error),
        field=event.error.field if isinstance(event.error, InvalidFieldError) else "",
        message=str(event.error),
    )


def _utterance(
    event: UtteranceBegan | UtteranceEnded, phase: pb.UtterancePhase
) -> pb.UtteranceEvent:
    return pb.UtteranceEvent(
        utterance_id=event.utterance_id,
        phase=phase,
        frame_index=event.frame_index,
        audio_sample=event.audio_sample,
    )


def summary(report: Report) -> pb.Summary:
    """Returns what a call came to."""
    return pb.Summary(
        frames=report.frames,
        audio_samples=report.audio_samples,
        audio_duration=_seconds(report.audio_s),
        windows=report.windows,
        first_frame_latency=_seconds(report.first_frame_s),
        wall_time=_seconds(report.wall_s),
        realtime_factor=report.realtime_factor,
        playable_latency=_seconds(report.playable_s),
        underruns=report.underruns,
        idle_frames=report.idle_frames,
    )


def server_info(offer: Offer, times: WindowTimes, own: OwnLimits) -> pb.GetServerInfoResponse:
    """Returns what the server runs, and offers somebody who has limits of their own."""
    kind = Kind.of(offer.generation, offer.sizes[0])
    return pb.GetServerInfoResponse(
        version=version("echomimic-server"),
        variant=offer.manifest.variant,
        checkpoint_digest=offer.manifest.checkpoint_digest,
        models=[
            pb.Model(name=name, backend=entry.backend, precision=entry.precision)
            for name, entry in offer.manifest.networks.items()
        ],
        sizes=[pb.Size(width=width, height=height) for width, height in offer.sizes],
        frame_encodings=[
            _FRAME_ENCODING[encoding] for encoding in FrameEncoding if encoding.is_offered
        ],
        samplers=[_SAMPLER[name] for name in OFFERED_SAMPLERS],
        default_generation=_generation(offer.generation, offer.manifest.variant),
        windows=_windows(offer.windows, times.advised_buffer_s(kind, offer.windows)),
        limits=_limits(offer, own),
        styles=[pb.Style(name=n, prompt=prompt) for n, prompt in offer.styles.items()],
        free_prompts=offer.free_prompts,
        settings=list(_settings(offer)),
        presets=[pb.Preset(name=name, steps=steps) for name, steps in offer.presets.items()],
        idle_modes=[_IDLE_MODE[mode] for mode in offer.idle_modes],
    )


def _settings(offer: Offer) -> Iterator[pb.Setting]:
    for name, setting in SETTINGS.items():
        if setting.serves(offer.manifest.variant):
            low, high = offer.range_of(name) or (None, None)
            yield pb.Setting(
                name=name,
                meaning=setting.meaning,
                minimum=low,
                maximum=high,
                changes_in_stream=not setting.fixed,
            )


def _generation(settings: GenerationSettings, variant: Variant) -> pb.GenerationSettings:
    values: dict[str, Any] = {
        name: getattr(settings, name) for name, of in SETTINGS.items() if of.serves(variant)
    }
    values["sampler"] = _SAMPLER[settings.sampler]
    values["teacache"] = _teacache(settings.teacache)
    return pb.GenerationSettings(**values)


def _teacache(teacache: TeaCache | None) -> pb.TeaCache | None:
    if teacache is None:
        return None
    return pb.TeaCache(
        threshold=teacache.threshold,
        warm_up=teacache.warm_up,
        policy=_TEACACHE_POLICY[teacache.policy],
    )


def _windows(spec: WindowSpec, advised_buffer_s: float) -> pb.WindowSettings:
    return pb.WindowSettings(
        first_window_frames=spec.first,
        window_frames=spec.longest,
        overlap_frames=spec.overlap,
        audio_lookahead=_duration(presentation_time_ns(spec.audio_lookahead)),
        audio_left_context=_duration(presentation_time_ns(spec.audio_left_context)),
        advised_buffer=_seconds(advised_buffer_s),
        ladder=spec.ladder,
    )


def _limits(offer: Offer, own: OwnLimits) -> pb.Limits:
    settings = offer.settings
    return pb.Limits(
        max_message_bytes=settings.max_message_bytes,
        max_portrait_bytes=settings.max_portrait_bytes,
        max_portrait_pixels=settings.max_portrait_pixels,
        max_stream_audio=_seconds(settings.max_stream_audio_s),
        max_render_audio=_seconds(settings.max_render_audio_s),
        max_buffered_audio=_seconds(settings.max_buffered_audio_s),
        read_timeout=_seconds(settings.read_timeout_s),
        idle_timeout=_seconds(settings.idle_timeout_s),
        max_streams=settings.max_streams,
        max_steps=settings.max_steps,
        max_prompt_bytes=settings.max_prompt_bytes,
        start_timeout=_seconds(settings.start_timeout_s),
        max_streams_per_caller=own.streams,
        max_waiting_utterances=MAX_WAITING_UTTERANCES,
        max_unread_answers=MAX_UNREAD_ANSWERS,
        max_waiting_updates=MAX_WAITING_UPDATES,
        max_buffer=_seconds(MAX_BUFFER_S),
        max_avatars=settings.max_avatars,
        max_avatars_per_caller=own.avatars,
        avatar_lifetime=_seconds(settings.avatar_lifetime_s),
        max_resumable_audio=_seconds(settings.resumable_audio_s),
        max_load=settings.max_load,
        max_opening_calls=settings.max_opening_calls,
        max_opening_calls_per_caller=settings.max_opening_calls_per_caller,
        max_speech_bytes=settings.max_speech_bytes,
    )


def _interval(seconds: float) -> duration_pb2.Duration | None:
    return None if math.isinf(seconds) else _seconds(seconds)


def _seconds(seconds: float) -> duration_pb2.Duration:
    return _duration(round(seconds * NANOSECONDS))


def _duration(nanoseconds: int) -> duration_pb2.Duration:
    seconds, nanos = divmod(nanoseconds, NANOSECONDS)
    return duration_pb2.Duration(seconds=seconds, nanos=nanos)
