"""The contract's enumerations, by the words that clients use."""

from echomimic.v1 import avatar_service_pb2 as pb

from echomimic_client.audio import SampleEncoding
from echomimic_client.choices import (
    FrameEncoding,
    Framing,
    IdleMode,
    Pace,
    SamplerName,
    TeaCachePolicy,
)
from echomimic_client.film_kinds import FilmKind
from echomimic_client.results import FrameKind

FILMS: dict[FilmKind, pb.RenderOutput] = {
    "mp4": pb.RENDER_OUTPUT_MP4,
    "fragmented_mp4": pb.RENDER_OUTPUT_FRAGMENTED_MP4,
    "webm": pb.RENDER_OUTPUT_WEBM,
    "gif": pb.RENDER_OUTPUT_GIF,
}
SAMPLES: dict[SampleEncoding, pb.AudioEncoding] = {
    "s16le": pb.AUDIO_ENCODING_PCM_S16LE,
    "f32le": pb.AUDIO_ENCODING_PCM_F32LE,
}
PICTURES: dict[FrameEncoding, pb.FrameEncoding] = {
    "jpeg": pb.FRAME_ENCODING_JPEG,
    "png": pb.FRAME_ENCODING_PNG,
    "rgb": pb.FRAME_ENCODING_RGB,
    "webp": pb.FRAME_ENCODING_WEBP,
    "h264": pb.FRAME_ENCODING_H264,
}
IDLE_MODES: dict[IdleMode, pb.IdleMode] = {
    "still": pb.IDLE_MODE_STILL,
    "warp": pb.IDLE_MODE_WARP,
    "model": pb.IDLE_MODE_MODEL,
}
IDLE_MODE_NAMES: dict[int, IdleMode] = {value: name for name, value in IDLE_MODES.items()}
FRAME_KINDS: dict[int, FrameKind] = {
    pb.FRAME_KIND_IDLE: "idle",
    pb.FRAME_KIND_LISTENING: "listening",
}
FRAMINGS: dict[Framing, pb.PortraitFraming] = {
    "fill": pb.PORTRAIT_FRAMING_UNSPECIFIED,
    "head_and_shoulders": pb.PORTRAIT_FRAMING_HEAD_AND_SHOULDERS,
}
PACES: dict[Pace, pb.Pace] = {
    "as_fast_as_possible": pb.PACE_AS_FAST_AS_POSSIBLE,
    "realtime": pb.PACE_REALTIME,
}
SAMPLERS: dict[SamplerName, pb.Sampler] = {
    "flow_unipc": pb.SAMPLER_FLOW_UNIPC,
    "flow_euler": pb.SAMPLER_FLOW_EULER,
    "flow_dpmpp": pb.SAMPLER_FLOW_DPMPP,
}
POLICIES: dict[TeaCachePolicy, pb.TeaCachePolicy] = {
    "exact_branches": pb.TEA_CACHE_POLICY_EXACT_BRANCHES,
    "upstream": pb.TEA_CACHE_POLICY_UPSTREAM,
}
POLICY_NAMES: dict[int, TeaCachePolicy] = {value: name for name, value in POLICIES.items()}
SAMPLE_NAMES: dict[int, SampleEncoding] = {value: name for name, value in SAMPLES.items()}
PICTURE_NAMES: dict[int, FrameEncoding] = {value: name for name, value in PICTURES.items()}
SAMPLER_NAMES: dict[int, SamplerName] = {value: name for name, value in SAMPLERS.items()}
