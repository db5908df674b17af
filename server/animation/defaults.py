"""How frames are generated, and what each variant's authors run it with."""

from dataclasses import dataclass

from server.animation.samplers.sampler import SamplerName
from server.animation.teacache import TeaCache
from server.triton.contract import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """How frames are generated. Flash has no use for what its defaults leave without effect."""

    prompt: str = "cinematic portrait, soft studio key light, shallow depth of field, filmic color"
    negative_prompt: str = ""
    steps: int
    audio_guidance: float
    text_guidance: float = 1.0
    sampler: SamplerName
    shift: float = 5.0
    seed: int = 43
    dynamic_audio_guidance: bool = False
    dynamic_text_guidance: bool = False
    negative_prompt_scale: float = 1.0
    negative_prompt_steps: int = 0
    guidance_skip_ratio: float = 0.0
    audio_scale: float = 1.0
    teacache: TeaCache | None = None


VARIANT_DEFAULTS: dict[Variant, GenerationSettings] = {
    "flash": GenerationSettings(steps=8, audio_guidance=2.5, sampler="flow_unipc"),
    "preview": GenerationSettings(
        negative_prompt="blurred face, distorted mouth, twisted hands, jerky gestures",
        steps=25,
        audio_guidance=2.9,
        text_guidance=2.5,
        sampler="flow_euler",
        dynamic_audio_guidance=True,
        dynamic_text_guidance=True,
        negative_prompt_scale=1.5,
        negative_prompt_steps=2,
    ),
}
"""What each variant's authors run it with, but for the prompts and the style's own strength."""
