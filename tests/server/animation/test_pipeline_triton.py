"""Whole clips of both variants on a real Triton, against the authors' programs."""

from collections import defaultdict
from pathlib import Path

import pytest

from export.models.denoiser.config import Riflex
from server.triton.client import TritonEngine
from server.triton.contract import Variant
from server.triton.process import Threads
from tests.support.pipeline_checks import check
from tests.support.pipeline_reference import Case, cases
from tests.support.reference_repository import reference_repository
from tests.support.toy_triton import Scene, find_installation

# The first to come exports the networks.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

VARIANTS: tuple[Variant, ...] = ("flash", "preview")


@pytest.mark.parametrize("variant", VARIANTS)
async def test_every_run_on_triton_equals_the_authors(
    variant: Variant, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    by_export: defaultdict[Riflex | None, list[Case]] = defaultdict(list)
    for case in cases(variant):
        by_export[case.riflex].append(case)
    assert by_export
    for number, (riflex, of_export) in enumerate(by_export.items()):
        repository = reference_repository(variant, riflex)
        scratch = tmp_path / str(number)
        scene = Scene(repository, scratch / "run", scratch / "triton.log")
        async with scene.start(find_installation(), threads=Threads(intra_op=1)) as triton:
            engine = TritonEngine(triton.grpc_url, timeout_s=60)
            for case in of_export:
                with subtests.test(msg=case.name):
                    await check(case, engine)
            await engine.close()
