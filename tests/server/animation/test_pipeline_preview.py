"""Whole clips of the preview variant, from WAV and picture to video, against the authors' program.

The networks run in torch; `test_pipeline_triton` runs them on Triton.
"""

import pytest

from tests.support.pipeline_checks import check
from tests.support.pipeline_reference import cases
from tests.support.torch_engine import reference_engine


async def test_every_run_equals_the_authors(subtests: pytest.Subtests) -> None:
    found = list(cases("preview"))
    assert found
    for case in found:
        with subtests.test(msg=case.name):
            await check(case, reference_engine("preview", case.riflex))
