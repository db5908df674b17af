"""What is done a latent frame at a time, in threads, is what would be done to all of them."""

from typing import get_args

import numpy as np
import pytest

from server import parts
from server.animation.denoise import advanced, apart, together
from server.animation.guidance import AUDIO, TEXT_AND_AUDIO, Guidance, branches, guided
from server.animation.samplers.sampler import SamplerName, make_sampler

STEPS = 5


@pytest.mark.parametrize("name", get_args(SamplerName))
@pytest.mark.parametrize("rows", [AUDIO, TEXT_AND_AUDIO], ids=["flash", "preview"])
@pytest.mark.parametrize("threads", [1, 2])
async def test_steps_of_latent_frames_are_those_of_all_latents(
    monkeypatch: pytest.MonkeyPatch, name: SamplerName, rows: tuple, threads: int
) -> None:
    monkeypatch.setattr(parts, "THREADS", threads)
    monkeypatch.setattr(parts, "PART_BYTES", 1)
    sampler = make_sampler(name, steps=STEPS, shift=5.0)
    guidance = Guidance(rows=rows, audio_scale=3.0, text_scale=2.0, skip_ratio=0.3)
    random = np.random.default_rng(0)
    noise = random.standard_normal((1, 16, 3, 4, 6), dtype=np.float32)
    whole, states = sampler.start(noise), [sampler.start(frame) for frame in apart(noise)]
    for step in range(STEPS):
        count = len(branches(guidance, step, STEPS))
        velocities = random.standard_normal((count, *noise.shape[1:]), dtype=np.float32)
        whole = sampler.step(whole, guided(guidance, velocities, step, STEPS))
        states, latents = await advanced(sampler, guidance, states, list(velocities), step)
        np.testing.assert_array_equal(latents, whole.latents)
        np.testing.assert_array_equal(latents, together(states))
