"""Where protobuf types end: what clients state to messages, and messages to results."""

from dataclasses import fields
from typing import Any, TypeVar

from echomimic.v1 import avatar_service_pb2 as pb
from google.protobuf.message import Message

from echomimic_client.audio import AudioClip, AudioFormat, SampleEncoding
from echomimic_client.results import (
    Frame,
    FrameEncoding,
    GenerationSettings,
    Limits,
    Model,
    SamplerName,
    ServerInfo,
    Started,
    Summary,
    VideoFormat,
    Windows,
)

Result = TypeVar("Result", Limits, Summary, Windows)

END = pb.AnimateRequest(end=pb.End())

_SAMPLES: dict[SampleEncoding, pb.AudioEncoding] = {
    "s16le": pb.AUDIO_ENCODING_PCM_S16LE,
    "f32le": pb.AUDIO_ENCODING_PCM_F32LE,
}
_PICTURES: dict[FrameEncoding, pb.FrameEncoding] = {
    "jpeg": pb.FRAME_ENCODING_JPEG,
    "png": pb.FRAME_ENCODING_PNG,
    "rgb": pb.FRAME_ENCODING_RGB,
}
_SAMPLERS: dict[SamplerName, pb.Sampler] = {
    "flow_unipc": pb.SAMPLER_FLOW_UNIPC,
    "flow_euler": pb.SAMPLER_FLOW_EULER,
    "flow_dpmpp": pb.SAMPLER_FLOW_DPMPP,
}
_SAMPLE_NAMES: dict[int, SampleEncoding] = {value: name for name, value in _SAMPLES.items()}
_PICTURE_NAMES: dict[int, FrameEncoding] = {value: name for name, value in _PICTURES.items()}
_SAMPLER_NAMES: dict[int, SamplerName] = {value: name for name, value in _SAMPLERS.items()}


def start_request(
    portrait: bytes,
    audio_format: AudioFormat,
    video: VideoFormat,
    generation: GenerationSettings,
    client_session_id: str,
) -> pb.AnimateRequest:
    """Returns the first message of an Animate stream."""
    common = _common(portrait, audio_format, video, generation, client_session_id)
    return pb.AnimateRequest(start=pb.Start(**common))


def audio_request(data: bytes) -> pb.AnimateRequest:
    """Returns a chunk of speech."""
    return pb.AnimateRequest(audio=pb.AudioChunk(data=data))


def render_request(
    portrait: bytes,
    clip: AudioClip,
    video: VideoFormat,
    generation: GenerationSettings,
    client_session_id: str,
) -> pb.RenderRequest:
    """Returns the request for an MP4."""
    common = _common(portrait, clip.format, video, generation, client_session_id)
    return pb.RenderRequest(audio=clip.data, output=pb.RENDER_OUTPUT_MP4, **common)


def read_frame(message: pb.Frame) -> Frame:
    """Reads a frame."""
    return Frame(
        index=message.index,
        pts_s=_seconds(message.presentation_time),
        first_audio_sample=message.first_audio_sample,
        width=message.width,
        height=message.height,
        encoding=_PICTURE_NAMES[message.encoding],
        data=message.data,
    )


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
            _PICTURE_NAMES[video.encoding], video.width, video.height, video.jpeg_quality
        ),
        frames_per_second=video.frames_per_second,
        generation=_read_generation(message.generation),
        windows=_read(Windows, message.windows),
        limits=_read(Limits, message.limits),
    )


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
        windows=_read(Windows, message.windows),
        limits=_read(Limits, message.limits),
        styles={style.name: style.prompt for style in message.styles},
        free_prompts=message.free_prompts,
    )


def _common(
    portrait: bytes,
    audio_format: AudioFormat,
    video: VideoFormat,
    generation: GenerationSettings,
    client_session_id: str,
) -> dict[str, Any]:
    return {
        "client_session_id": client_session_id,
        "portrait": pb.Portrait(image=portrait),
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
        ),
        "generation": _generation(generation),
    }


def _generation(settings: GenerationSettings) -> pb.GenerationSettings:
    stated = {f.name: getattr(settings, f.name) for f in fields(settings)}
    if settings.sampler is not None:
        stated["sampler"] = _SAMPLERS[settings.sampler]
    return pb.GenerationSettings(**stated)


def _read_generation(message: pb.GenerationSettings) -> GenerationSettings:
    names = [field.name for field in fields(GenerationSettings) if message.HasField(field.name)]
    stated: dict[str, Any] = {name: getattr(message, name) for name in names}
    if "sampler" in stated:
        stated["sampler"] = _SAMPLER_NAMES.get(message.sampler)
    return GenerationSettings(**stated)


def _read(kind: type[Result], message: Message) -> Result:
    """Copies the fields that a result has; its ``name_s`` is the Duration ``name``."""
    durations = {f.name for f in message.DESCRIPTOR.fields if f.message_type is not None}
    values: dict[str, Any] = {}
    for field in fields(kind):
        name = field.name.removesuffix("_s")
        value = getattr(message, name if name in durations else field.name)
        values[field.name] = _seconds(value) if name in durations else value
    return kind(**values)


def _seconds(duration: Any) -> float:
    return duration.ToTimedelta().total_seconds()
