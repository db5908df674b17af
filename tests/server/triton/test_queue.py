"""The queue of a real Triton, as the demo is configured: nobody is held, who waits is merged."""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tritonclient.grpc import InferenceServerClient

from server.triton.contract import DENOISER
from tests.support.paths import ROOT
from tests.support.toy_triton import served
from tests.support.triton_queue import (
    Counters,
    model_config,
    one_at_a_time,
    warm_up_shapes,
    window_shapes,
    zeros,
)

pytestmark = pytest.mark.slow

DEMO = ROOT / "export" / "demo" / "model_repository"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServerClient]:
    folder = tmp_path_factory.mktemp("queue")
    for name in ("time_modulation", "denoiser"):
        shutil.copytree(DEMO / name, folder / "models" / name)
    with (
        served(folder / "models", folder) as triton,
        InferenceServerClient(triton.grpc_url) as connected,
    ):
        yield connected


def test_a_request_that_follows_at_once_is_not_held(client: InferenceServerClient) -> None:
    # Levels of priority, or a limit of the queue, hold one of ten here for half a second.
    assert one_at_a_time(client, "time_modulation", requests=100).held == 0


def test_what_waits_is_merged(client: InferenceServerClient) -> None:
    config = model_config(client, DENOISER.name)
    long = zeros(config, window_shapes(DENOISER, config, "flash", (128, 128), 81), rows=4)
    step = zeros(config, warm_up_shapes(config))
    before = Counters.of(client, DENOISER.name)
    with ThreadPoolExecutor(5) as threads:
        requests = [threads.submit(client.infer, DENOISER.name, long)]
        # So that the others find it at work, which takes much longer.
        time.sleep(0.2)
        requests += [threads.submit(client.infer, DENOISER.name, step) for _ in range(4)]
        for request in requests:
            request.result()
    after = counted(client, before.rows + 8)
    # The long one, the four others together, and one that may have come before it.
    assert after.executions - before.executions <= 3


def counted(client: InferenceServerClient, rows: int) -> Counters:
    """The counters once they have come to a number of rows: Triton answers before it counts."""
    deadline_s = time.monotonic() + 20
    while (counters := Counters.of(client, DENOISER.name)).rows < rows:
        assert time.monotonic() < deadline_s, counters
        time.sleep(0.01)
    assert counters.rows == rows
    return counters
