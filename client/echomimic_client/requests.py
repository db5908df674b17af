"""What clients state, as the messages that they send."""

from dataclasses import fields
from datetime import timedelta
from typing import Any

from echomimic.v1 import avatar_service_pb2 as pb

from echomimic_client.audio import AudioClip, AudioFormat
from echomimic_client.choices import ExactClip, FaceBox, Framing, GenerationSettings, IdleMode, Pace
from echomimic_client.enums import (
    FRAMINGS,
    IDLE_MODES,
    PACES,
    PICTURES,
    POLICIES,
    SAMPLERS,
    SAMPLES,
)
from echomimic_client.options import DEFAULT_GENERATION, DEFAULT_VIDEO, CallOptions
from echomimic_client.results import Avatar

END_OF_UTTERANCE = pb.AnimateRequest(end_of_utterance=pb.EndOfUtterance())
INTERRUPT = pb.AnimateRequest(interrupt=pb.Interrupt())
RESUME = pb.AnimateRequest(resume=pb.Resume())
END = pb.AnimateRequest(end=pb.End())


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
        idle_mode=pb.IDLE_MODE_UNSPECIFIED if idle is None else IDLE_MODES[idle],
        pace=pb.PACE_UNSPECIFIED if pace is None else PACES[pace],
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
            encoding=SAMPLES[audio_format.encoding],
            sample_rate_hz=audio_format.sample_rate_hz,
            channels=audio_format.channels,
        ),
        "video_format": pb.VideoFormat(
            encoding=PICTURES[video.encoding],
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
        stated["sampler"] = SAMPLERS[settings.sampler]
    if settings.teacache is not None:
        cache = _stated(settings.teacache)
        if settings.teacache.policy is not None:
            cache["policy"] = POLICIES[settings.teacache.policy]
        stated["teacache"] = pb.TeaCache(**cache)
    return pb.GenerationSettings(**stated)
