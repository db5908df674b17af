"""How frames are generated: the table of settings, and what each variant's authors run it with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, get_type_hints

from server.animation.samplers.sampler import SamplerName
from server.animation.teacache import TeaCache
from server.triton.contract import Variant


@dataclass(frozen=True, slots=True)
class Setting:
    """What whoever checks or lists it has to know of a field of `GenerationSettings`.

    Attributes:
        meaning: in a line, for people.
        range: lowest and highest value of a number; operators may allow fewer steps.
        preview_only: whether flash has no use for it.
        is_prompt: whether it is a text for umT5, or the name of a style.
        fixed: why a running stream cannot change it; empty where it can.
    """

    meaning: str
    range: tuple[float, float] | None = None
    preview_only: bool = False
    is_prompt: bool = False
    fixed: str = ""

    def serves(self, variant: Variant) -> bool:
        """Tells whether a variant has a use for it."""
        return variant == "preview" or not self.preview_only


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """How frames are generated. Flash has no use for what its defaults leave without effect."""

    prompt: Annotated[str, Setting("What the picture shows.", is_prompt=True)] = (
        "A person is speaking."
    )
    negative_prompt: Annotated[
        str, Setting("What it should not show.", preview_only=True, is_prompt=True)
    ] = ""
    steps: Annotated[int, Setting("Denoising steps.", (1, 64))]
    audio_guidance: Annotated[
        float, Setting("How strongly the speech drives the face; 1 means no guidance.", (1, 20))
    ]
    text_guidance: Annotated[
        float, Setting("How strongly the prompt is followed.", (1, 20), preview_only=True)
    ] = 1.0
    sampler: Annotated[SamplerName, Setting("The rule for a step.")]
    shift: Annotated[
        float, Setting("The shift of the noise schedule towards high noise.", (0.01, 100))
    ] = 5.0
    seed: Annotated[
        int,
        Setting(
            "The seed of the noise.",
            (0, 2**64 - 1),
            fixed="the noise goes on through a stream; open a new one for another seed",
        ),
    ] = 43
    dynamic_audio_guidance: Annotated[
        bool, Setting("Whether audio guidance falls to its half.", preview_only=True)
    ] = False
    dynamic_text_guidance: Annotated[
        bool, Setting("Whether text guidance falls to its half.", preview_only=True)
    ] = False
    negative_prompt_scale: Annotated[
        float,
        Setting(
            "What the negative prompt is multiplied by at each of the first steps.",
            (0, 3),
            preview_only=True,
        ),
    ] = 1.0
    negative_prompt_steps: Annotated[
        int, Setting("The last step, from 0, that multiplies it.", (0, 10), preview_only=True)
    ] = 0
    guidance_skip_ratio: Annotated[
        float, Setting("The last part of the steps that goes without guidance.", (0, 1))
    ] = 0.0
    audio_scale: Annotated[
        float,
        Setting("How strongly speech acts inside the denoiser.", (0, 10), preview_only=True),
    ] = 1.0
    teacache: Annotated[TeaCache | None, Setting("Which evaluations are skipped, if any.")] = None


SETTINGS: dict[str, Setting] = {
    name: annotated.__metadata__[0]
    for name, annotated in get_type_hints(GenerationSettings, include_extras=True).items()
}
"""The table, by the fields' names."""

VARIANT_DEFAULTS: dict[Variant, GenerationSettings] = {
    "flash": GenerationSettings(steps=8, audio_guidance=3.0, sampler="flow_unipc"),
    "preview": GenerationSettings(
        negative_prompt="Gesture is bad. Gesture is unclear. Strange and twisted hands. Bad hands. "
        "Bad fingers. Unclear and blurry hands. "
        "手部快速摆动, 手指频繁抽搐, 夸张手势, 重复机械性动作.",
        steps=25,
        audio_guidance=2.9,
        text_guidance=4.0,
        sampler="flow_euler",
        dynamic_audio_guidance=True,
        dynamic_text_guidance=True,
        negative_prompt_scale=1.5,
        negative_prompt_steps=2,
    ),
}
"""What each variant's authors run it with. Preview has flash's prompt: it comes with none."""

PRESETS: Mapping[str, int] = {"fast": 6, "balanced": 8, "maximum": 12}
"""Denoising steps that have names."""


def style_strength(variant: Variant) -> str:
    """Returns the name of the setting that says how strongly a style is followed."""
    return "audio_guidance" if variant == "flash" else "text_guidance"
