"""Every network's ONNX file against the authors' program, on the reference's own cases."""

import pytest

from tests.support.network_cases import network_cases
from tests.support.onnx_engine import OnnxEngine
from tests.support.reference import assert_close
from tests.support.reference_repository import reference_repository

# The first to come exports the networks.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


async def test_every_onnx_file_equals_the_reference(subtests: pytest.Subtests) -> None:
    compared = 0
    for case in network_cases():
        # RIFLEx is exported for one length; its pipeline runs on Triton.
        if case.riflex is not None:
            continue
        engine = OnnxEngine(reference_repository(case.variant))
        with subtests.test(f"{case.fixture} {case.name}"):
            assert_close(await case.run(engine), case.expected, case.tolerance)
        compared += 1
    assert compared
