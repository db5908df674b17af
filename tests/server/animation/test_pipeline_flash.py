"""Whole clips of the flash variant, from WAV and picture to video, against the authors' program.

The networks run in torch; `test_pipeline_triton` runs them on Triton.
"""

import numpy as np
import pytest

from tests.support.pipeline_checks import check
from tests.support.pipeline_reference import cases
from tests.support.torch_engine import reference_engine


async def test_every_run_equals_the_authors(subtests: pytest.Subtests) -> None:
    found = list(cases("flash"))
    assert found
    for case in found:
        with subtests.test(msg=case.name):
            await check(case, reference_engine("flash", case.riflex))


async def test_runs_of_the_reference_skip_evaluations() -> None:
    cached = [case for case in cases("flash") if case.options["enable_teacache"]]
    assert cached
    for case in cached:
        recorder, _ = await case.run(reference_engine("flash", case.riflex))
        calls = case.recorded["transformer_calls"]
        skipped = sum(r.shape[1] for r in recorder.given("denoiser_cached", "residual"))
        assert skipped == sum(not call["blocks_computed"] for call in calls)
        assert np.isin(
            recorder.given("time_modulation", "timestep")[0], [c["t"] for c in calls]
        ).all()
