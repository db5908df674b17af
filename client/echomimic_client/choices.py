"""What a client may choose: formats, settings, and how much of a portrait is seen."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

FrameEncoding = Literal["jpeg", "png", "rgb", "webp", "h264"]
SamplerName = Literal["flow_unipc", "flow_euler", "flow_dpmpp"]
TeaCachePolicy = Literal["exact_branches", "upstream"]
IdleMode = Literal["still", "warp", "model"]
Pace = Literal["as_fast_as_possible", "realtime"]
Framing = Literal["fill", "head_and_shoulders"]
"""As much of a portrait as has the frames' shape, or the head with its shoulders."""


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What frames look like; 0 is the server's default."""

    encoding: FrameEncoding = "jpeg"
    width: int = 0
    height: int = 0
    jpeg_quality: int = 0
    frame_rate: Fraction = Fraction(0)
    """Frames a second: 8 to 30, `Fraction(24_000, 1001)` or `Fraction(30_000, 1001)`."""
    blend_frames: bool = False
    """Whether frames between two of the model's are blended of both, not the nearest one."""


@dataclass(frozen=True, slots=True)
class TeaCache:
    """When evaluations of the denoiser are skipped; None is the server's default."""

    threshold: float | None = None
    """The change that may add up before the denoiser is evaluated again: 0 to 10."""
    warm_up: int | None = None
    """Evaluations at the start that are never skipped."""
    policy: TeaCachePolicy | None = None
    off: bool = False
    """Whether none is skipped from now on; for updates, and alone."""


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How frames are generated; None is the server's default."""

    prompt: str | None = None
    negative_prompt: str | None = None
    steps: int | None = None
    audio_guidance: float | None = None
    text_guidance: float | None = None
    sampler: SamplerName | None = None
    shift: float | None = None
    seed: int | None = None
    dynamic_audio_guidance: bool | None = None
    dynamic_text_guidance: bool | None = None
    negative_prompt_scale: float | None = None
    negative_prompt_steps: int | None = None
    guidance_skip_ratio: float | None = None
    audio_scale: float | None = None
    teacache: TeaCache | None = None
    """None skips nothing."""
    preset: str | None = None
    """In place of steps: fast, balanced or maximum. Answers have the steps."""
    style_cfg: float | None = None
    """How strongly the style is followed, in place of the guidance that says so in the variant."""


@dataclass(frozen=True, slots=True)
class FaceBox:
    """Where the face is, in pixels of the portrait as displayed; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, slots=True)
class ExactClip:
    """A clip made as the authors' program does, whole; None is that program's own number."""

    window_frames: int | None = None
    overlap_frames: int | None = None
    blend_latents: bool = False
    match_colors: bool = False
