"""Where protobuf types end: what clients state to messages, and messages to results."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from datetime import timedelta, timezone
from fractions import Fraction
from typing import Any, TypeVar

from echomimic.v1 import avatar_service_pb2 as pb
from google.protobuf.message import Message

from echomimic_client.audio import AudioClip, AudioFormat, SampleEncoding
from echomimic_client.film_kinds import FilmKind
from echomimic_client.options import DEFAULT_GENERATION, DEFAULT_VIDEO, CallOptions
from echomimic_client.results import (
    AudioPosition,
    Avatar,
    BufferState,
    Event,
    ExactClip,
    FaceBox,
    Frame,
    FrameEncoding,
    FrameKind,
    Framing,
    GenerationSettings,
    Heartbeat,
    IdleMode,
    Interrupted,
    Limits,
    Model,
    Pace,
    Pong,
    Progress,
    Resumed,
    ResumeRefused,
    SamplerName,
    ServerInfo,
    ServerWarning,
    Setting,
    Started,
    StreamExpiring,
    Summary,
    TeaCache,
    TeaCachePolicy,
    Updated,
    UpdateRefused,
    UtteranceEvent,
    VideoFormat,
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

FILMS: dict[FilmKind, pb.RenderOutput] = {
    "mp4": pb.RENDER_OUTPUT_MP4,
    "fragmented_mp4": pb.RENDER_OUTPUT_FRAGMENTED_MP4,
    "webm": pb.RENDER_OUTPUT_WEBM,
    "gif": pb.RENDER_OUTPUT_GIF,
}
END_OF_UTTERANCE = pb.AnimateRequest(end_of_utterance=pb.EndOfUtterance())
INTERRUPT = pb.AnimateRequest(interrupt=pb.Interrupt())
RESUME = pb.AnimateRequest(resume=pb.Resume())
END = pb.AnimateRequest(end=pb.End())

_SAMPLES: dict[SampleEncoding, pb.AudioEncoding] = {
    "s16le": pb.AUDIO_ENCODING_PCM_S16LE,
    "f32le": pb.AUDIO_ENCODING_PCM_F32LE,
}
_PICTURES: dict[FrameEncoding, pb.FrameEncoding] = {
    "jpeg": pb.FRAME_ENCODING_JPEG,
    "png": pb.FRAME_ENCODING_PNG,
    "rgb": pb.FRAME_ENCODING_RGB,
    "webp": pb.FRAME_ENCODING_WEBP,
    "h264": pb.FRAME_ENCODING_H264,
}
_IDLE_MODES: dict[IdleMode, pb.IdleMode] = {
    "still": pb.IDLE_MODE_STILL,
    "warp": pb.IDLE_MODE_WARP,
    "model": pb.IDLE_MODE_MODEL,
}
_IDLE_MODE_NAMES: dict[int, IdleMode] = {value: name for name, value in _IDLE_MODES.items()}
_KINDS: dict[int, FrameKind] = {
    pb.FRAME_KIND_IDLE: "idle",
    pb.FRAME_KIND_LISTENING: "listening",
}
FRAMINGS: dict[Framing, pb.PortraitFraming] = {
    "fill": pb.PORTRAIT_FRAMING_UNSPECIFIED,
    "head_and_shoulders": pb.PORTRAIT_FRAMING_HEAD_AND_SHOULDERS,
}
_PACES: dict[Pace, pb.Pace] = {
    "as_fast_as_possible": pb.PACE_AS_FAST_AS_POSSIBLE,
    "realtime": pb.PACE_REALTIME,
}
_SAMPLERS: dict[SamplerName, pb.Sampler] = {
    "flow_unipc": pb.SAMPLER_FLOW_UNIPC,
    "flow_euler": pb.SAMPLER_FLOW_EULER,
    "flow_dpmpp": pb.SAMPLER_FLOW_DPMPP,
}
_POLICIES: dict[TeaCachePolicy, pb.TeaCachePolicy] = {
    "exact_branches": pb.TEA_CACHE_POLICY_EXACT_BRANCHES,
    "upstream": pb.TEA_CACHE_POLICY_UPSTREAM,
}
_POLICY_NAMES: dict[int, TeaCachePolicy] = {value: name for name, value in _POLICIES.items()}
_SAMPLE_NAMES: dict[int, SampleEncoding] = {value: name for name, value in _SAMPLES.items()}
_PICTURE_NAMES: dict[int, FrameEncoding] = {value: name for name, value in _PICTURES.items()}
_SAMPLER_NAMES: dict[int, SamplerName] = {value: name for name, value in _SAMPLERS.items()}


def start_request(
    portrait: bytes | Avatar,
    audio_format: AudioFormat,
    options: CallOptions,
    *,
    continues: bool,
    idle: IdleMode | None,
    pace: Pace | None,
    buffer_s: float | None,
    audio_position_interval_s: float | None,
    heartbeat_interval_s: float | None,
    min_steps: int | None,
) -> pb.AnimateRequest:
    """Returns the first message of an Animate stream."""
    start = pb.Start(
        continue_from_last_frame=continues,
        idle_mode=pb.IDLE_MODE_UNSPECIFIED if idle is None else _IDLE_MODES[idle],
        pace=pb.PACE_UNSPECIFIED if pace is None else _PACES[pace],
        min_steps=min_steps,
        **_common(portrait, audio_format, options),
    )
    for duration, seconds in (
        (start.buffer, buffer_s),
        (start.audio_position_interval, audio_position_interval_s),
        (start.heartbeat_interval, heartbeat_interval_s),
    ):
        if seconds is not None:
            duration.FromTimedelta(timedelta(seconds=seconds))
    return pb.AnimateRequest(start=start)


def audio_request(data: bytes) -> pb.AnimateRequest:
    """Returns a chunk of speech."""
    return pb.AnimateRequest(audio=pb.AudioChunk(data=data))


def update_request(update_id: str, generation: GenerationSettings) -> pb.AnimateRequest:
    """Returns a change of settings."""
    update = pb.Update(update_id=update_id, generation=_generation(generation))
    return pb.AnimateRequest(update=update)


def played_request(last_frame_index: int) -> pb.AnimateRequest:
    """Returns a report of what was played."""
    return pb.AnimateRequest(played=pb.Played(last_frame_index=last_frame_index))


def ping_request(ping_id: str) -> pb.AnimateRequest:
    """Asks whether the server is there."""
    return pb.AnimateRequest(ping=pb.Ping(ping_id=ping_id))


def listening_request(active: bool) -> pb.AnimateRequest:
    """Says whether the other person talks."""
    return pb.AnimateRequest(listening=pb.Listening(active=active))


def render_request(
    portrait: bytes | Avatar,
    clip: AudioClip,
    options: CallOptions,
    exact: ExactClip | None,
    output: pb.RenderOutput,
) -> pb.RenderRequest:
    """Returns the request for a film, or for frames."""
    return pb.RenderRequest(
        audio=clip.data,
        output=output,
        exact_clip=None if exact is None else pb.ExactClip(**_stated(exact)),
        **_common(portrait, clip.format, options),
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
            _SAMPLE_NAMES[audio.encoding], audio.sample_rate_hz, audio.channels
        ),
        video_format=VideoFormat(
            _PICTURE_NAMES[video.encoding],
            video.width,
            video.height,
            video.jpeg_quality,
            Fraction(video.frames_per_second, video.frames_per_second_denominator or 1),
            video.blend_frames,
        ),
        generation=_read_generation(message.generation),
        windows=_read_windows(message.windows),
        limits=_read(Limits, message.limits),
        idle=_IDLE_MODE_NAMES.get(message.idle_mode, "still"),
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
            _PICTURE_NAMES[e] for e in message.frame_encodings if e in _PICTURE_NAMES
        ),
        samplers=tuple(_SAMPLER_NAMES[s] for s in message.samplers if s in _SAMPLER_NAMES),
        default_generation=_read_generation(message.default_generation),
        windows=_read_windows(message.windows),
        limits=_read(Limits, message.limits),
        styles={style.name: style.prompt for style in message.styles},
        free_prompts=message.free_prompts,
        settings=tuple(map(_read_setting, message.settings)),
        presets={preset.name: preset.steps for preset in message.presets},
        idle_modes=tuple(_IDLE_MODE_NAMES[m] for m in message.idle_modes if m in _IDLE_MODE_NAMES),
    )


def check_request(
    portrait: bytes, framing: Framing, size: tuple[int, int], *, strict: bool
) -> pb.CheckPortraitRequest:
    """Asks what could be better about a portrait."""
    message = _portrait(portrait, None, framing, strict=strict)
    return pb.CheckPortraitRequest(portrait=message, width=size[0], height=size[1])


def create_avatar_request(
    portrait: bytes,
    face_box: FaceBox | None,
    framing: Framing,
    size: tuple[int, int],
    *,
    strict: bool,
) -> pb.CreateAvatarRequest:
    """Asks to prepare a portrait."""
    message = _portrait(portrait, face_box, framing, strict=strict)
    return pb.CreateAvatarRequest(portrait=message, width=size[0], height=size[1])


def read_avatar(message: pb.Avatar, warnings: Iterable[pb.Warning] = ()) -> Avatar:
    """Reads what is known of an avatar."""
    return Avatar(
        message.avatar_id,
        (message.width, message.height),
        message.create_time.ToDatetime(timezone.utc),
        message.expire_time.ToDatetime(timezone.utc),
        tuple(_read(ServerWarning, warning) for warning in warnings),
    )


def _who(portrait: bytes | Avatar, options: CallOptions) -> dict[str, Any]:
    face_box = options.get("face_box")
    framing, strict = options.get("framing", "fill"), options.get("strict", False)
    if isinstance(portrait, bytes):
        return {"portrait": _portrait(portrait, face_box, framing, strict=strict)}
    if face_box is not None or framing != "fill" or strict:
        raise ValueError("face_box, framing and strict are stated where an avatar is created")
    return {"avatar_id": portrait.avatar_id}


def _portrait(
    image: bytes, face_box: FaceBox | None, framing: Framing, *, strict: bool
) -> pb.Portrait:
    box = None if face_box is None else pb.FaceBox(**_stated(face_box))
    return pb.Portrait(image=image, face_box=box, strict=strict, framing=FRAMINGS[framing])


def _common(
    portrait: bytes | Avatar, audio_format: AudioFormat, options: CallOptions
) -> dict[str, Any]:
    video = options.get("video", DEFAULT_VIDEO)
    return {
        "client_session_id": options.get("client_session_id", ""),
        **_who(portrait, options),
        "audio_format": pb.AudioFormat(
            encoding=_SAMPLES[audio_format.encoding],
            sample_rate_hz=audio_format.sample_rate_hz,
            channels=audio_format.channels,
        ),
        "video_format": pb.VideoFormat(
            encoding=_PICTURES[video.encoding],
            width=video.width,
            height=video.height,
            jpeg_quality=video.jpeg_quality,
            frames_per_second=video.frame_rate.numerator,
            frames_per_second_denominator=video.frame_rate.denominator if video.frame_rate else 0,
            blend_frames=video.blend_frames,
        ),
        "generation": _generation(options.get("generation", DEFAULT_GENERATION)),
        "blink_over_speech": options.get("blink_over_speech", False),
    }


def _stated(settings: Any) -> dict[str, Any]:
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return {name: value for name, value in values.items() if value is not None}


def _generation(settings: GenerationSettings) -> pb.GenerationSettings:
    stated = _stated(settings)
    if settings.sampler is not None:
        stated["sampler"] = _SAMPLERS[settings.sampler]
    if settings.teacache is not None:
        cache = _stated(settings.teacache)
        if settings.teacache.policy is not None:
            cache["policy"] = _POLICIES[settings.teacache.policy]
        stated["teacache"] = pb.TeaCache(**cache)
    return pb.GenerationSettings(**stated)


def _read_generation(message: pb.GenerationSettings) -> GenerationSettings:
    stated: dict[str, Any] = _present(message, GenerationSettings)
    if "sampler" in stated:
        stated["sampler"] = _SAMPLER_NAMES.get(message.sampler)
    if "teacache" in stated:
        cache: dict[str, Any] = _present(message.teacache, TeaCache, without=("policy", "off"))
        policy = _POLICY_NAMES.get(message.teacache.policy)
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
        kind=_KINDS.get(message.kind, "speech"),
        encoding=_PICTURE_NAMES[message.encoding],
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
