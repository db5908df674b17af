"""Client messages to checked jobs. Every refusal names the field and the remedy."""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from echomimic.v1 import avatar_service_pb2 as pb
from google.protobuf import duration_pb2

from server.animation.clip import MIN_FRAMES, ExactClip
from server.animation.defaults import SETTINGS
from server.animation.samplers.sampler import SamplerName
from server.animation.teacache import Policy
from server.animation.variant import in_exact_clip
from server.audio.clock import NANOSECONDS
from server.audio.pcm import AudioFormat, SampleEncoding
from server.errors import InvalidFieldError, MissingExtraError
from server.pictures.encoding import FrameEncoding
from server.pictures.face import FaceBox
from server.pictures.framing import Framing
from server.sessions import jobs
from server.sessions.announcing import Intervals
from server.sessions.jobs import IdleMode, Job, Offer, VideoFormat
from server.sessions.pacer import Pace
from server.sessions.retiming import OWN_RATE, Retiming
from server.sessions.sitter import Avatar, Sitter
from server.sessions.stating import SHORTHANDS, Stated, check_range, with_stated
from server.setting_values import FRAME_RATE_DENOMINATORS, MAX_FRAME_RATE, MIN_FRAME_RATE
from server.settings import MAX_BUFFER_S
from server.triton.contract import FRAMES_PER_LATENT, latent_frames

AUDIO_ENCODINGS: dict[pb.AudioEncoding, SampleEncoding] = {
    pb.AUDIO_ENCODING_PCM_S16LE: "s16le",
    pb.AUDIO_ENCODING_PCM_F32LE: "f32le",
}
FRAME_ENCODINGS: dict[pb.FrameEncoding, FrameEncoding] = {
    pb.FRAME_ENCODING_JPEG: FrameEncoding.JPEG,
    pb.FRAME_ENCODING_PNG: FrameEncoding.PNG,
    pb.FRAME_ENCODING_RGB: FrameEncoding.RGB,
    pb.FRAME_ENCODING_WEBP: FrameEncoding.WEBP,
    pb.FRAME_ENCODING_H264: FrameEncoding.H264,
}
SAMPLERS: dict[pb.Sampler, SamplerName] = {
    pb.SAMPLER_FLOW_UNIPC: "flow_unipc",
    pb.SAMPLER_FLOW_EULER: "flow_euler",
    pb.SAMPLER_FLOW_DPMPP: "flow_dpmpp",
}
TEACACHE_POLICIES: dict[pb.TeaCachePolicy, Policy] = {
    pb.TEA_CACHE_POLICY_EXACT_BRANCHES: "per_branch",
    pb.TEA_CACHE_POLICY_UPSTREAM: "shared",
}
IDLE_MODES: dict[pb.IdleMode, IdleMode] = {
    pb.IDLE_MODE_STILL: "still",
    pb.IDLE_MODE_WARP: "warp",
    pb.IDLE_MODE_MODEL: "model",
}
FRAMINGS: dict[pb.PortraitFraming, Framing] = {
    pb.PORTRAIT_FRAMING_UNSPECIFIED: Framing.FILL,
    pb.PORTRAIT_FRAMING_HEAD_AND_SHOULDERS: Framing.HEAD_AND_SHOULDERS,
}

MIN_POSITION_S, MIN_HEARTBEAT_S, MAX_INTERVAL_S = 0.2, 1.0, 3600.0
"""How often a client may ask to be told something."""
Sizes = Sequence[tuple[int, int]]
"""Widths and heights that may be asked for; the first is the default."""


def read_start(message: pb.AnimateRequest, offer: Offer, avatar: Avatar | None) -> Job:
    """Reads the first message of an Animate stream.

    Args:
        message: whatever came first.
        offer: what may be asked for.
        avatar: the one that it names, if it does.

    Raises:
        InvalidFieldError: it is no `start`, or a field of it cannot be used.
    """
    if message.WhichOneof("message") != "start":
        raise InvalidFieldError("message", "the first message must be `start`")
    start = message.start
    job = _read_job(start, offer, avatar, prefix="start.")
    return replace(
        job,
        continues=start.continue_from_last_frame,
        pace=_pace(start, offer),
        idle=_idle(start, offer),
        blinks=_blinks(start, offer, "start.blink_over_speech"),
        min_steps=_min_steps(start, job.generation.steps),
        intervals=Intervals(
            _interval(start, "audio_position_interval", MIN_POSITION_S),
            _interval(start, "heartbeat_interval", MIN_HEARTBEAT_S),
        ),
    )


def read_render(request: pb.RenderRequest, offer: Offer, avatar: Avatar | None) -> Job:
    """Reads a Render request but for its audio.

    Args:
        request: of a client.
        offer: what may be asked for.
        avatar: the one that it names, if it does.

    Raises:
        InvalidFieldError: a field cannot be used.
    """
    if request.output not in pb.RenderOutput.values():
        raise InvalidFieldError("output", "is unknown; ask for MP4, WEBM, GIF or FRAMES")
    job = _read_job(request, offer, avatar, prefix="")
    exact = _exact_clip(request, job, offer)
    blinks = _blinks(request, offer, "blink_over_speech")
    if exact is None:
        return replace(job, blinks=blinks)
    if blinks:
        problem = "goes with no exact clip, which is made as the authors do; leave it out"
        raise InvalidFieldError("blink_over_speech", problem)
    if isinstance(job.who, Avatar):
        problem = "goes with no exact clip, which shows the whole portrait; send `portrait`"
        raise InvalidFieldError("avatar_id", problem)
    if job.who.framing is not Framing.FILL:
        problem = "goes with no exact clip, which shows the whole portrait; leave it out"
        raise InvalidFieldError("portrait.framing", problem)
    if request.video_format.frames_per_second and job.video_format.retiming != OWN_RATE:
        raise InvalidFieldError(
            "video_format.frames_per_second", "is 25 for an exact clip; leave it out"
        )
    variant = offer.manifest.variant
    settings = in_exact_clip(job.generation, variant, blends=exact.blend_latents)
    video_format = replace(job.video_format, retiming=OWN_RATE)
    return replace(job, exact=exact, generation=settings, video_format=video_format)


def _idle(start: pb.Start, offer: Offer) -> IdleMode:
    if start.idle_mode == pb.IDLE_MODE_UNSPECIFIED:
        return offer.idle_modes[0] if start.idle_frames else "still"
    mode = IDLE_MODES.get(start.idle_mode)
    if mode is None:
        raise InvalidFieldError("start.idle_mode", "is unknown; ask for STILL, WARP or MODEL")
    if mode == "still" and start.idle_frames:
        raise InvalidFieldError("start.idle_frames", "is true, but STILL sends none; leave it out")
    if mode not in offer.idle_modes:
        raise InvalidFieldError(
            "start.idle_mode",
            "is WARP, for which this server lacks the mesh of faces; ask for MODEL, or have its "
            "repository exported again",
        )
    return mode


def _blinks(message: pb.Start | pb.RenderRequest, offer: Offer, field: str) -> bool:
    if message.blink_over_speech and not offer.has_mesh:
        raise InvalidFieldError(
            field,
            "needs the mesh of faces, which this server lacks; leave it out, or have its "
            "repository exported again",
        )
    return message.blink_over_speech


def _pace(start: pb.Start, offer: Offer) -> Pace:
    if start.pace not in pb.Pace.values():
        raise InvalidFieldError("start.pace", "is unknown; ask for REALTIME or leave it out")
    buffer_s = offer.settings.buffer_seconds
    if start.HasField("buffer"):
        buffer_s = _seconds(start.buffer)
        check_range(buffer_s, 0, MAX_BUFFER_S, "start.buffer")
    return Pace(
        is_realtime=start.pace == pb.PACE_REALTIME,
        buffer_s=buffer_s,
        is_told=bool(start.pace) or start.HasField("buffer"),
    )


def _min_steps(start: pb.Start, steps: int) -> int | None:
    if not start.HasField("min_steps"):
        return None
    check_range(start.min_steps, 1, steps, "start.min_steps")
    return start.min_steps


def _interval(start: pb.Start, name: str, least_s: float) -> float:
    if not start.HasField(name):
        return math.inf
    interval_s = _seconds(getattr(start, name))
    check_range(interval_s, least_s, MAX_INTERVAL_S, f"start.{name}")
    return interval_s


def _seconds(duration: duration_pb2.Duration) -> float:
    return duration.seconds + duration.nanos / NANOSECONDS


def _read_job(
    message: pb.Start | pb.RenderRequest, offer: Offer, avatar: Avatar | None, *, prefix: str
) -> Job:
    session_id = message.client_session_id
    if len(session_id.encode()) > jobs.MAX_SESSION_ID_BYTES:
        raise InvalidFieldError(
            f"{prefix}client_session_id", f"is longer than {jobs.MAX_SESSION_ID_BYTES} bytes"
        )
    who = _who(message, offer, avatar, prefix)
    sizes = [who.size] if isinstance(who, Avatar) else offer.sizes
    return Job(
        client_session_id=session_id,
        who=who,
        audio_format=_audio_format(message.audio_format, f"{prefix}audio_format"),
        video_format=_video_format(message.video_format, offer, sizes, f"{prefix}video_format"),
        generation=with_stated(
            offer.generation, read_generation(message.generation), offer, f"{prefix}generation"
        ),
    )


def _who(
    message: pb.Start | pb.RenderRequest, offer: Offer, avatar: Avatar | None, prefix: str
) -> Sitter | Avatar:
    match message.WhichOneof("avatar"):
        case None:
            raise InvalidFieldError(f"{prefix}portrait", "is missing; send a portrait file")
        case "avatar_id":
            assert avatar is not None, "what a message names is found before it is read"
            return avatar
        case _:
            return read_sitter(message.portrait, offer, f"{prefix}portrait")


def read_sitter(portrait: pb.Portrait, offer: Offer, field: str) -> Sitter:
    """Reads a portrait, but for its file.

    Raises:
        InvalidFieldError: a field cannot be used.
    """
    limit = offer.settings.max_portrait_bytes
    if len(portrait.image) > limit:
        raise InvalidFieldError(
            f"{field}.image", f"has {len(portrait.image)} bytes; send at most {limit}"
        )
    framing = FRAMINGS.get(portrait.framing)
    if framing is None:
        raise InvalidFieldError(f"{field}.framing", "is unknown; ask for HEAD_AND_SHOULDERS")
    return Sitter(
        portrait.image,
        f"{field}.image",
        _face_box(portrait, offer, f"{field}.face_box"),
        framing,
        portrait.strict,
    )


def read_portrait(
    request: pb.CheckPortraitRequest | pb.CreateAvatarRequest, offer: Offer
) -> tuple[Sitter, tuple[int, int]]:
    """Reads a portrait without speech, and the size of the frames to come.

    Raises:
        InvalidFieldError: a field cannot be used.
    """
    if not request.HasField("portrait"):
        raise InvalidFieldError("portrait", "is missing; send a portrait file")
    size = _size(request.width, request.height, offer.sizes, "width")
    return read_sitter(request.portrait, offer, "portrait"), size


def _exact_clip(request: pb.RenderRequest, job: Job, offer: Offer) -> ExactClip | None:
    if not request.HasField("exact_clip"):
        return None
    message, variant = request.exact_clip, offer.manifest.variant
    if offer.manifest.max_window_frames is not None:
        raise InvalidFieldError(
            "exact_clip", "needs a server whose engines take any size and length; leave it out"
        )
    window = jobs.EXACT_WINDOW_FRAMES[variant]
    if message.HasField("window_frames"):
        window = message.window_frames
    check_range(window, MIN_FRAMES, jobs.MAX_EXACT_WINDOW_FRAMES, "exact_clip.window_frames")
    if (window - 1) % FRAMES_PER_LATENT:
        raise InvalidFieldError(
            "exact_clip.window_frames", f"is {window}; send 4k + 1, as 17, 81 or 113"
        )
    for name in ("overlap_frames", "blend_latents") if variant == "flash" else ():
        if getattr(message, name):
            raise InvalidFieldError(
                f"exact_clip.{name}", "has no effect in this variant: it makes one window"
            )
    if message.blend_latents and job.generation.sampler != "flow_euler":
        raise InvalidFieldError(
            "exact_clip.blend_latents", "needs the sampler FLOW_EULER: the others look back"
        )
    if message.blend_latents and job.generation.teacache is not None:
        raise InvalidFieldError(
            "generation.teacache", "cannot be used with exact_clip.blend_latents; leave it out"
        )
    exact = ExactClip(window, 8, message.blend_latents, message.match_colors)
    if message.HasField("overlap_frames"):
        exact = replace(exact, overlap_frames=message.overlap_frames)
    if variant == "preview":
        length = latent_frames(window) if exact.blend_latents else window
        # More overlap would compute most frames many times over.
        check_range(exact.overlap_frames, 1, length // 2, "exact_clip.overlap_frames")
    return exact


def _face_box(portrait: pb.Portrait, offer: Offer, field: str) -> FaceBox | None:
    if not portrait.HasField("face_box"):
        return None
    if offer.manifest.variant == "flash":
        raise InvalidFieldError(field, "is not used by this variant; leave it out")
    box = portrait.face_box
    if not (0 <= box.left < box.right and 0 <= box.top < box.bottom):
        raise InvalidFieldError(
            field, "is empty or negative; send 0 <= left < right and 0 <= top < bottom"
        )
    return FaceBox(box.left, box.top, box.right, box.bottom)


def _audio_format(message: pb.AudioFormat, field: str) -> AudioFormat:
    encoding = AUDIO_ENCODINGS.get(message.encoding)
    if encoding is None:
        raise InvalidFieldError(f"{field}.encoding", "is missing or unknown; send S16LE or F32LE")
    check_range(
        message.sample_rate_hz,
        jobs.MIN_SAMPLE_RATE_HZ,
        jobs.MAX_SAMPLE_RATE_HZ,
        f"{field}.sample_rate_hz",
    )
    check_range(message.channels, 0, 2, f"{field}.channels")
    return AudioFormat(encoding, message.sample_rate_hz, message.channels or 1)


def _video_format(message: pb.VideoFormat, offer: Offer, sizes: Sizes, field: str) -> VideoFormat:
    encoding = FRAME_ENCODINGS.get(message.encoding or pb.FRAME_ENCODING_JPEG)
    if encoding is None:
        raise InvalidFieldError(f"{field}.encoding", "is unknown; GetServerInfo lists them")
    if not encoding.is_offered:
        raise MissingExtraError(f"{field}.encoding H264", "mp4")
    size = _size(message.width, message.height, sizes, f"{field}.width")
    check_range(message.jpeg_quality, 0, 100, f"{field}.jpeg_quality")
    rate = _frame_rate(message, offer, field)
    return VideoFormat(
        encoding,
        *size,
        jpeg_quality=message.jpeg_quality or jobs.DEFAULT_JPEG_QUALITY,
        retiming=Retiming(rate, blends=message.blend_frames),
    )


def _size(width: int, height: int, sizes: Sizes, field: str) -> tuple[int, int]:
    if not width and not height:
        return sizes[0]
    if (width, height) not in sizes:
        offered = ", ".join(f"{width}x{height}" for width, height in sizes)
        raise InvalidFieldError(field, f"{width}x{height} is not offered; ask for one of {offered}")
    return width, height


def _frame_rate(message: pb.VideoFormat, offer: Offer, field: str) -> Fraction:
    number, denominator = message.frames_per_second, message.frames_per_second_denominator
    if denominator not in (0, *FRAME_RATE_DENOMINATORS) or (denominator and not number):
        raise InvalidFieldError(
            f"{field}.frames_per_second_denominator",
            f"is {denominator}; send 1, or 1001 with 24000 or 30000 frames per second",
        )
    if not number:
        return offer.settings.frame_rate
    rate = Fraction(number, denominator or 1)
    check_range(float(rate), MIN_FRAME_RATE, MAX_FRAME_RATE, f"{field}.frames_per_second")
    return rate


def read_generation(message: pb.GenerationSettings) -> Stated:
    """Returns what a client states of generation; unspecified words are not stated."""
    stated: dict[str, Any] = {
        name: getattr(message, name) for name in (*SETTINGS, *SHORTHANDS) if message.HasField(name)
    }
    if stated.pop("sampler", pb.SAMPLER_UNSPECIFIED) != pb.SAMPLER_UNSPECIFIED:
        stated["sampler"] = SAMPLERS.get(message.sampler)
    if "teacache" in stated:
        stated["teacache"] = _read_teacache(message.teacache)
    return stated


def _read_teacache(message: pb.TeaCache) -> Stated:
    stated: dict[str, Any] = {
        name: getattr(message, name) for name in ("threshold", "warm_up") if message.HasField(name)
    }
    if message.policy != pb.TEA_CACHE_POLICY_UNSPECIFIED:
        stated["policy"] = TEACACHE_POLICIES.get(message.policy)
    if message.off:
        stated["off"] = True
    return stated
