"""What must be equal between a run of the authors' programs and ours, whatever the engine.

The tolerances are those that the reference states.
"""

import numpy as np
from numpy.typing import NDArray

from server.triton.contract import AUDIO_WINDOW
from server.triton.engine import Engine
from tests.support.pipeline_reference import Case, Recorder
from tests.support.reference import assert_close

FIRST_WINDOW = {"latents": 1e-3, "y": 1e-3, "video": 5e-4}
LATER_WINDOWS = {"latents": 5e-3, "y": 1e-2, "video": 2e-3}
"""Frames are bytes again between windows, and single levels may flip."""


async def check(case: Case, engine: Engine) -> None:
    """Compares every stage of a run."""
    checks = {"flash": check_flash, "preview": check_preview}
    await checks[case.variant](case, engine)


async def check_flash(case: Case, engine: Engine) -> None:
    """Compares every stage of a flash run."""
    recorder, video = await case.run(engine)
    theirs = case.fixture.outputs
    name = case.name

    text = theirs[f"{name}.prompt_embeds"]
    (ours,) = recorder.made("text_encoder", "text")
    assert_close(ours[0, : len(text)], text, FIRST_WINDOW["latents"])
    assert not ours[0, len(text) :].any()

    (image_tokens,) = recorder.made("image_encoder", "image_tokens")
    assert_close(image_tokens, theirs[f"{name}.clip_context"], FIRST_WINDOW["latents"])
    condition = recorder.given("denoiser", "condition")[0][:1]
    assert_close(condition, theirs[f"{name}.y"], FIRST_WINDOW["latents"])
    windows = theirs[case.recorded["audio_embeds_key"]]
    heard = recorder.given("denoiser", "audio")[0]
    frames = windows.shape[1]
    ours = np.stack([heard[:, first : first + frames] for first in range(AUDIO_WINDOW)], axis=2)
    assert_close(ours, windows, FIRST_WINDOW["latents"])

    (latents,) = recorder.given("vae_decoder", "latents")
    assert_close(latents, theirs[f"{name}.latents_steps"][-1], FIRST_WINDOW["latents"])
    assert video.shape[2] == case.recorded["saved_frames"]
    if case.case["stores_video"]:
        assert_close(video, theirs[f"{name}.video"], FIRST_WINDOW["video"])


def windows_of(case: Case, recorder: Recorder) -> list[NDArray[np.float32]]:
    """The condition of each window, as the denoiser got it first."""
    conditions = recorder.given("denoiser", "condition")
    seen: list[NDArray[np.float32]] = []
    for condition in conditions:
        if not seen or not np.array_equal(seen[-1], condition[:1]):
            seen.append(condition[:1])
    return seen


async def check_preview(case: Case, engine: Engine) -> None:
    """Compares every window of a preview run."""
    recorder, video = await case.run(engine)
    theirs, name = case.fixture.outputs, case.name
    (image_tokens,) = recorder.made("image_encoder", "image_tokens")
    assert_close(image_tokens, theirs[f"{name}.w0.clip_context"], FIRST_WINDOW["y"])
    text = theirs[f"{name}.w0.prompt_embeds"]
    assert_close(recorder.made("text_encoder", "text")[0][0, : len(text)], text, 1e-3)
    if case.guided:
        mask = recorder.given("denoiser", "face_mask")[0][0]
        np.testing.assert_array_equal(mask.ravel(), theirs[f"{name}.w0.ip_mask"][0])

    conditions = windows_of(case, recorder)
    for window, latents in enumerate(recorder.given("vae_decoder", "latents")):
        tolerance = LATER_WINDOWS if window else FIRST_WINDOW
        assert_close(latents, theirs[f"{name}.w{window}.final_latents"], tolerance["latents"])
        assert_close(conditions[window], theirs[f"{name}.w{window}.y"], tolerance["y"])
    count = len(case.recorded["windows"])
    assert len(recorder.given("vae_decoder", "latents")) == count
    assert video.shape[2] == case.recorded["saved_frames"]
    if case.case["stores_video"]:
        several = LATER_WINDOWS if count > 1 else FIRST_WINDOW
        assert_close(video, theirs[f"{name}.video"], several["video"])
