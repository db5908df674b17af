"""Whole clips of the flash variant, from WAV and picture to video, against the authors' program.

The networks run in torch; each equals its ONNX file within the tolerance of the export.
"""

import numpy as np
import pytest

from tests.pipeline_reference import Case, cases
from tests.reference import assert_close
from tests.torch_engine import reference_engine

LATENT_TOLERANCE = 1e-3
VIDEO_TOLERANCE = 5e-4


async def check(case: Case) -> None:
    recorder, video = await case.run(reference_engine("flash", case.riflex))
    theirs = case.fixture.outputs
    name = case.name

    text = theirs[f"{name}.prompt_embeds"]
    (ours,) = recorder.made("text_encoder", "text")
    assert_close(ours[0, : len(text)], text, LATENT_TOLERANCE)
    assert not ours[0, len(text) :].any()

    (image_tokens,) = recorder.made("image_encoder", "image_tokens")
    assert_close(image_tokens, theirs[f"{name}.clip_context"], LATENT_TOLERANCE)
    condition = recorder.given("denoiser", "condition")[0][:1]
    assert_close(condition, theirs[f"{name}.y"], LATENT_TOLERANCE)
    audio = recorder.given("denoiser", "audio")[0][:1]
    assert_close(audio, theirs[case.recorded["audio_embeds_key"]], LATENT_TOLERANCE)

    (latents,) = recorder.given("vae_decoder", "latents")
    assert_close(latents, theirs[f"{name}.latents_steps"][-1], LATENT_TOLERANCE)
    assert video.shape[2] == case.recorded["saved_frames"]
    if case.case["stores_video"]:
        assert_close(video, theirs[f"{name}.video"], VIDEO_TOLERANCE)


async def test_every_run_equals_the_authors(subtests: pytest.Subtests) -> None:
    found = list(cases("flash"))
    assert found
    for case in found:
        with subtests.test(msg=case.name):
            await check(case)


async def test_runs_of_the_reference_skip_evaluations() -> None:
    cached = [case for case in cases("flash") if case.options["enable_teacache"]]
    assert cached
    for case in cached:
        recorder, _ = await case.run(reference_engine("flash", case.riflex))
        calls = case.recorded["transformer_calls"]
        skipped = sum(len(t) for t in recorder.given("denoiser_cached", "timestep"))
        assert skipped == sum(not call["blocks_computed"] for call in calls)
        assert np.isin(
            recorder.given("time_modulation", "timestep")[0], [c["t"] for c in calls]
        ).all()
