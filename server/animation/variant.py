"""What the choice of variant means for a call: guidance, sampler and the way from speech."""

from dataclasses import replace

from server.animation.defaults import GenerationSettings
from server.animation.generation import Generation
from server.animation.guidance import AUDIO, TEXT_AND_AUDIO, UNGUIDED, Branch, Guidance
from server.animation.samplers.sampler import Sampler, make_sampler
from server.arrays import FloatArray
from server.audio.paths import AudioPath, FlashAudio, PreviewAudio
from server.triton.contract import Variant

PREVIEW_CONSTRUCTOR_SHIFT = 5.0


def generation(settings: GenerationSettings, variant: Variant, face_mask: FloatArray) -> Generation:
    """Returns how the frames of a call are generated.

    Args:
        settings: what the call asks for.
        variant: of the repository.
        face_mask: where audio acts, [height / 16, width / 16]; flash has no use for it.
    """
    return Generation(
        audio=_audio_path(settings, variant, face_mask),
        sampler=_sampler(settings, variant),
        guidance=guidance(settings),
        teacache=settings.teacache,
    )


def guidance(settings: GenerationSettings) -> Guidance:
    """Returns the guidance; without text guidance, as in flash, it has no negative branch."""
    if settings.text_guidance > 1:
        rows = TEXT_AND_AUDIO
    elif settings.audio_guidance > 1:
        rows = AUDIO
    else:
        rows = UNGUIDED
    return Guidance(
        rows=rows,
        audio_scale=settings.audio_guidance,
        text_scale=settings.text_guidance,
        dynamic_audio=settings.dynamic_audio_guidance,
        dynamic_text=settings.dynamic_text_guidance,
        negative_scale=settings.negative_prompt_scale,
        negative_steps=settings.negative_prompt_steps,
        skip_ratio=settings.guidance_skip_ratio,
    )


def in_exact_clip(
    settings: GenerationSettings, variant: Variant, *, blends: bool
) -> GenerationSettings:
    """Returns what the authors' preview makes of settings in a whole clip.

    Without text guidance nothing is guided. Where windows are blended, neither the negative
    prompt's scale nor the skipped guidance is used.
    """
    if variant == "flash":
        return settings
    if settings.text_guidance <= 1:
        settings = replace(settings, text_guidance=1.0, audio_guidance=1.0)
    if blends:
        settings = replace(settings, negative_prompt_scale=1.0, guidance_skip_ratio=0.0)
    return settings


def needs_negative_text(guidance: Guidance) -> bool:
    """Tells whether the negative prompt is used at all."""
    return Branch.NEGATIVE in guidance.rows


def _sampler(settings: GenerationSettings, variant: Variant) -> Sampler:
    # Upstream's preview builds its scheduler with the shift of its configuration, before it passes
    # that of the call.
    before = PREVIEW_CONSTRUCTOR_SHIFT if variant == "preview" else 1.0
    return make_sampler(
        settings.sampler, steps=settings.steps, shift=settings.shift, constructor_shift=before
    )


def _audio_path(settings: GenerationSettings, variant: Variant, face_mask: FloatArray) -> AudioPath:
    match variant:
        case "flash":
            return FlashAudio()
        case "preview":
            return PreviewAudio(face_mask, settings.audio_scale)
