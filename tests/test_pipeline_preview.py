"""Whole clips of the preview variant, from WAV and picture to video, against the authors' program.

The networks run in torch; each equals its ONNX file within the tolerance of the export.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.pipeline_reference import Case, Recorder, cases
from tests.reference import assert_close
from tests.torch_engine import reference_engine

FIRST_WINDOW = {"latents": 1e-3, "y": 1e-3, "video": 5e-4}
LATER_WINDOWS = {"latents": 5e-3, "y": 1e-2, "video": 2e-3}
"""Frames are bytes again between windows, and single levels may flip."""


def windows_of(case: Case, recorder: Recorder) -> list[NDArray[np.float32]]:
    """The condition of each window, as the denoiser got it first."""
    conditions = recorder.given("denoiser", "condition")
    seen: list[NDArray[np.float32]] = []
    for condition in conditions:
        if not seen or not np.array_equal(seen[-1], condition[:1]):
            seen.append(condition[:1])
    return seen


async def check(case: Case) -> None:
    recorder, video = await case.run(reference_engine("preview", case.riflex))
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


async def test_every_run_equals_the_authors(subtests: pytest.Subtests) -> None:
    found = list(cases("preview"))
    assert found
    for case in found:
        with subtests.test(msg=case.name):
            await check(case)
