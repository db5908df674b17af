"""Where protobuf types end: what servers answer, as results."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from datetime import timezone
from fractions import Fraction
from typing import Any, TypeVar

from echomimic.v1 import avatar_service_pb2 as pb
from google.protobuf.message import Message

from echomimic_client.audio import AudioFormat
from echomimic_client.choices import GenerationSettings, TeaCache, VideoFormat
from echomimic_client.enums import (
    FRAME_KINDS,
    IDLE_MODE_NAMES,
    PICTURE_NAMES,
    POLICY_NAMES,
    SAMPLE_NAMES,
    SAMPLER_NAMES,
)
from echomimic_client.results import (
    AudioPosition,
    Avatar,
    BufferState,
    Event,
    Frame,
    Heartbeat,
    Interrupted,
    Limits,
    Model,
    Pong,
    Progress,
    Resumed,
    ResumeRefused,
    ServerInfo,
    ServerWarning,
    Setting,
    Started,
    StreamExpiring,
    Summary,
    Updated,
    UpdateRefused,
    UtteranceEvent,
    Windows,
)

Result = TypeVar(
    "Result",
    Limits,
    Summary,
    Windows,
    Interrupted,
    Resumed,
    ResumeRefused,
    UpdateRefused,
    ServerWarning,
    Progress,
    StreamExpiring,
    AudioPosition,
    Pong,
)


def film_bytes(message: pb.RenderResponse) -> bytes:
    """Returns what a message has of a film, if anything."""
    return message.mp4_chunk.data or message.file_chunk.data


def read_event(message: pb.AnimateResponse | pb.RenderResponse) -> Event | None:
    """Reads what comes between `started` and the summary; None for anything else.

    Kinds that later servers may add are passed over.
    """
    kind = message.WhichOneof("message")
    if kind not in _EVENTS:
        return None
    return _EVENTS[kind](getattr(message, kind))


def read_started(message: pb.Started) -> Started:
    """Reads the settings in force."""
    audio, video = message.audio_format, message.video_format
    return Started(
        request_id=message.request_id,
        client_session_id=message.client_session_id,
        audio_format=AudioFormat(
            SAMPLE_NAMES[audio.encoding], audio.sample_rate_hz, audio.channels
        ),
        video_format=VideoFormat(
            PICTURE_NAMES[video.encoding],
            video.width,
            video.height,
            video.jpeg_quality,
            Fraction(video.frames_per_second, video.frames_per_second_denominator or 1),
            video.blend_frames,
        ),
        generation=_read_generation(message.generation),
        windows=_read_windows(message.windows),
        limits=_read(Limits, message.limits),
        idle=IDLE_MODE_NAMES.get(message.idle_mode, "still"),
        pace="realtime" if message.pace == pb.PACE_REALTIME else "as_fast_as_possible",
        buffer_s=_seconds(message.buffer),
        blink_over_speech=message.blink_over_speech,
        audio_position_interval_s=_interval(message, "audio_position_interval"),
        heartbeat_interval_s=_interval(message, "heartbeat_interval"),
        min_steps=message.min_steps if message.HasField("min_steps") else None,
    )


def _interval(message: pb.Started, name: str) -> float | None:
    return _seconds(getattr(message, name)) if message.HasField(name) else None


def read_summary(message: pb.Summary) -> Summary:
    """Reads what a call came to."""
    return _read(Summary, message)


def read_server_info(message: pb.GetServerInfoResponse) -> ServerInfo:
    """Reads what a server offers; what this client does not know of is left out."""
    return ServerInfo(
        version=message.version,
        variant=message.variant,
        checkpoint_digest=message.checkpoint_digest,
        models=tuple(Model(m.name, m.backend, m.precision) for m in message.models),
        sizes=tuple((size.width, size.height) for size in message.sizes),
        frame_encodings=tuple(
            PICTURE_NAMES[e] for e in message.frame_encodings if e in PICTURE_NAMES
        ),
        samplers=tuple(SAMPLER_NAMES[s] for s in message.samplers if s in SAMPLER_NAMES),
        default_generation=_read_generation(message.default_generation),
        windows=_read_windows(message.windows),
        limits=_read(Limits, message.limits),
        styles={style.name: style.prompt for style in message.styles},
        free_prompts=message.free_prompts,
        settings=tuple(map(_read_setting, message.settings)),
        presets={preset.name: preset.steps for preset in message.presets},
        idle_modes=tuple(IDLE_MODE_NAMES[m] for m in message.idle_modes if m in IDLE_MODE_NAMES),
    )


def read_avatar(message: pb.Avatar, warnings: Iterable[pb.Warning] = ()) -> Avatar:
    """Reads what is known of an avatar."""
    return Avatar(
        message.avatar_id,
        (message.width, message.height),
        message.create_time.ToDatetime(timezone.utc),
        message.expire_time.ToDatetime(timezone.utc),
        tuple(_read(ServerWarning, warning) for warning in warnings),
    )


def _read_generation(message: pb.GenerationSettings) -> GenerationSettings:
    stated: dict[str, Any] = _present(message, GenerationSettings)
    if "sampler" in stated:
        stated["sampler"] = SAMPLER_NAMES.get(message.sampler)
    if "teacache" in stated:
        cache: dict[str, Any] = _present(message.teacache, TeaCache, without=("policy", "off"))
        policy = POLICY_NAMES.get(message.teacache.policy)
        stated["teacache"] = TeaCache(**cache, policy=policy)
    return GenerationSettings(**stated)


def _present(message: Message, kind: Any, without: Sequence[str] = ()) -> dict[str, Any]:
    names = [field.name for field in fields(kind) if field.name not in without]
    return {name: getattr(message, name) for name in names if message.HasField(name)}


def _read_frame(message: pb.Frame) -> Frame:
    return Frame(
        index=message.index,
        utterance_id=message.utterance_id,
        pts_s=_seconds(message.presentation_time),
        first_audio_sample=message.first_audio_sample,
        width=message.width,
        height=message.height,
        kind=FRAME_KINDS.get(message.kind, "speech"),
        encoding=PICTURE_NAMES[message.encoding],
        data=message.data,
        key_frame=message.key_frame,
    )


def _read_utterance(message: pb.UtteranceEvent) -> UtteranceEvent:
    return UtteranceEvent(
        utterance_id=message.utterance_id,
        phase="ended" if message.phase == pb.UTTERANCE_PHASE_ENDED else "began",
        frame_index=message.frame_index,
        audio_sample=message.audio_sample,
    )


def _read_buffer(message: pb.Buffer) -> BufferState:
    return BufferState(
        level_s=_seconds(message.level),
        is_filling=message.filling,
        underruns=message.underruns,
        realtime_factor=message.realtime_factor,
    )


def _read_setting(message: pb.Setting) -> Setting:
    return Setting(
        name=message.name,
        meaning=message.meaning,
        minimum=message.minimum if message.HasField("minimum") else None,
        maximum=message.maximum if message.HasField("maximum") else None,
        changes_in_stream=message.changes_in_stream,
    )


def _read_updated(message: pb.Updated) -> Updated:
    return Updated(
        update_id=message.update_id,
        generation=_read_generation(message.generation),
        utterance_id=message.utterance_id,
        window=message.window,
        frame_index=message.frame_index,
    )


def _read(kind: type[Result], message: Message) -> Result:
    """Copies the fields that a result has; its ``name_s`` is the Duration ``name``."""
    durations = {f.name for f in message.DESCRIPTOR.fields if f.message_type is not None}
    values: dict[str, Any] = {}
    for field in fields(kind):
        name = field.name.removesuffix("_s")
        value = getattr(message, name if name in durations else field.name)
        values[field.name] = _seconds(value) if name in durations else value
    return kind(**values)


def _read_windows(message: pb.WindowSettings) -> Windows:
    return replace(_read(Windows, message), ladder=tuple(message.ladder))


def _seconds(duration: Any) -> float:
    return duration.ToTimedelta().total_seconds()


_EVENTS: dict[str, Callable[[Any], Event]] = {
    "frame": _read_frame,
    "buffer": _read_buffer,
    "utterance": _read_utterance,
    "updated": _read_updated,
    "update_refused": lambda message: _read(UpdateRefused, message),
    "interrupted": lambda message: _read(Interrupted, message),
    "resumed": lambda message: _read(Resumed, message),
    "resume_refused": lambda message: _read(ResumeRefused, message),
    "stream_expiring": lambda message: _read(StreamExpiring, message),
    "warning": lambda message: _read(ServerWarning, message),
    "progress": lambda message: _read(Progress, message),
    "audio_position": lambda message: _read(AudioPosition, message),
    "pong": lambda message: _read(Pong, message),
    "heartbeat": lambda _: Heartbeat(),
}
