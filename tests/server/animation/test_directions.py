"""What windows are made with is asked for window by window, and otherwise nothing is different."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from server.animation.cache import ByteCache
from server.animation.condition import Conditioner
from server.animation.defaults import VARIANT_DEFAULTS, GenerationSettings
from server.animation.denoise import denoise, plan_steps
from server.animation.features import hear, next_segment
from server.animation.generation import Direction, denoiser_inputs, direct, seeded_noise
from server.animation.pipeline import animate
from server.animation.stitch import Stitcher
from server.animation.teacache import TeaCache
from server.animation.variant import generation
from server.animation.windows import Window, WindowSpec, windows
from server.audio.clock import MODEL_SAMPLES_PER_FRAME
from server.audio.normalizer import RunningNormalizer
from server.audio.timeline import AudioBudget, AudioTimeline
from server.pictures.face import everywhere
from server.triton.contract import LATENT_CHANNELS, VAE_DECODER, Variant
from server.triton.engine import Priority
from tests.support.fake_engine import FakeEngine
from tests.support.serving import SIZE, speech, tokenizer

Pictures = NDArray[np.uint8]

SPEC = WindowSpec(ladder=(5, 9), overlap=2, audio_lookahead=2, audio_left_context=5)
FRAMES = 5 + 7 + 7
"""Three whole windows."""
PICTURE = np.broadcast_to(np.arange(SIZE, dtype=np.uint8)[:, None], (SIZE, SIZE, 3))
SETTINGS: dict[str, tuple[Variant, GenerationSettings]] = {
    "flash": ("flash", replace(VARIANT_DEFAULTS["flash"], steps=3)),
    "preview": ("preview", replace(VARIANT_DEFAULTS["preview"], steps=3)),
    "teacache": (
        "flash",
        replace(VARIANT_DEFAULTS["flash"], steps=4, teacache=TeaCache(threshold=10.0, warm_up=2)),
    ),
}


async def timeline() -> AudioTimeline:
    samples = speech(FRAMES * MODEL_SAMPLES_PER_FRAME) / 32768
    heard = AudioTimeline(AudioBudget(len(samples)))
    await heard.finish(samples.astype(np.float32), len(samples))
    return heard


async def directed(
    conditioner: Conditioner, variant: Variant, settings: GenerationSettings
) -> Direction:
    avatar = await conditioner.avatar(PICTURE, settings.prompt, settings.negative_prompt)
    how = generation(settings, variant, everywhere(SIZE, SIZE))
    return await direct(FakeEngine(), avatar, how)


async def once_an_utterance(conditioner: Conditioner, direction: Direction, seed: int) -> Pictures:
    """The pipeline as plain as can be: what holds for the first window holds for all."""
    engine, heard, stitcher = FakeEngine(), await timeline(), Stitcher(SPEC.overlap)
    how, noise, normalize = direction.generation, seeded_noise(seed), RunningNormalizer()
    plans = await plan_steps(engine, how.sampler, how.guidance, how.teacache)
    clips: list[Pictures] = []
    for window, _ in zip(windows(SPEC), range(3), strict=False):
        known = stitcher.held if window.overlap else PICTURE[None]
        condition = await conditioner.window(known, window.frames)
        segment = await next_segment(heard, window, SPEC, normalize)
        hearing = await hear(engine, how.audio, segment, window, Priority.NORMAL)
        latents = await denoise(
            engine,
            denoiser_inputs(direction, condition=condition, hearing=hearing),
            noise=noise((1, LATENT_CHANNELS, *condition.shape[2:])),
            sampler=how.sampler,
            guidance=how.guidance,
            plans=plans,
        )
        decoded = await engine.run(VAE_DECODER, {"latents": latents}, ["frames"])
        clip = await stitcher.add(window, decoded["frames"][0])
        clips.append(clip.pictures)
    return np.concatenate([*clips, stitcher.held])


@pytest.mark.parametrize("name", SETTINGS)
async def test_settings_that_stay_give_the_bytes_of_settings_asked_for_once(
    tmp_path: Path, name: str
) -> None:
    variant, settings = SETTINGS[name]
    conditioner = Conditioner(FakeEngine(), tokenizer(tmp_path), ByteCache(0))
    # Equal, and each made anew.
    made = [await directed(conditioner, variant, settings) for _ in range(3)]
    asked: list[Window] = []

    def directions(window: Window) -> Direction:
        asked.append(window)
        return made[window.index]

    noise = seeded_noise(settings.seed)
    clips = [
        clip.pictures
        async for clip in animate(
            FakeEngine(), conditioner, PICTURE, await timeline(), SPEC, directions, noise
        )
    ]
    plain = await once_an_utterance(conditioner, made[0], settings.seed)
    assert asked == list(_first(3))
    np.testing.assert_array_equal(np.concatenate(clips), plain)


def _first(count: int) -> Iterator[Window]:
    return (window for window, _ in zip(windows(SPEC), range(count), strict=False))
