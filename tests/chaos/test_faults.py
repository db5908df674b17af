"""The quick rows of `make chaos`: what breaks, on a real gateway with a real Triton."""

from collections.abc import Callable, Iterator

import pytest

from tests.chaos import client_faults, engine_faults
from tests.chaos.interrupts import answered_s, interrupt, stale_s
from tests.chaos.isolation import isolate
from tests.chaos.mixture import EVERY, left_behind, mix
from tests.chaos.model import violations
from tests.chaos.scene import Row, Scene, goes_down, scene
from tests.support.gateway_process import TRITON_VENV
from tests.support.paths import TINY_REPOSITORY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (TINY_REPOSITORY / "manifest.json").exists(),
        reason="no models; `make test` exports them",
    ),
    pytest.mark.skipif(
        not (TRITON_VENV / "bin").exists(), reason="no Triton; `make test` installs it"
    ),
]


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("chaos")
    with scene(folder) as it:
        yield it
        assert goes_down(it.running, folder).problems == []


@pytest.mark.parametrize(
    "fault",
    [
        client_faults.client_writes_all_and_then_reads,
        client_faults.gateway_is_full,
        client_faults.client_is_killed,
        engine_faults.triton_is_killed,
    ],
    ids=lambda fault: fault.__name__,
)
def test_a_fault_costs_nothing_that_was_acknowledged(
    it: Scene, fault: Callable[[Scene], Row]
) -> None:
    row = fault(it)
    assert row.problems == []
    assert row.leaked == "nothing"


def test_interruptions_in_a_row_are_answered_one_by_one(it: Scene) -> None:
    history = interrupt(it.running, 20)
    assert violations(history) == []
    assert len(answered_s(history)) == len(stale_s(history)) == 20


def test_streams_at_once_get_no_frame_of_another(it: Scene) -> None:
    assert isolate(it.running.address, 4, 200) >= 200


def test_streams_of_every_kind_leave_nothing_behind(it: Scene) -> None:
    readings = mix(it.running.address, it.running.process.pid, 2 * EVERY)
    assert left_behind(readings) == []
