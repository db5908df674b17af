"""What Triton's dynamic batcher does in each of its settings: whom it holds, and whom it merges.

python -m tests.reports.batching REPOSITORY
"""

import argparse
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from tritonclient.grpc import InferenceServerClient

from server.manifest import Manifest, read_manifest
from server.triton.contract import NETWORKS
from server.triton.process import RunningTriton
from tests.reports.markdown import table, write_measured
from tests.support.toy_triton import served
from tests.support.triton_queue import (
    Counters,
    model_config,
    one_at_a_time,
    together,
    window_shapes,
    zeros,
)

BATCHING = re.compile(r"^dynamic_batching \{\n(.*?)\}\n", re.MULTILINE | re.DOTALL)
LEVELS = "priority_levels: 2 default_priority_level: 2"
ASKED_AT_ONCE = ("time_modulation", "denoiser")
REQUESTS = 100
CLIENTS, STEPS = 4, 8
NEWCOMER_LEVEL = 1


@dataclass(frozen=True)
class Variant:
    """Another text in place of what config.pbtxt says about batches."""

    name: str
    text: str
    instances: int = 1

    def applied(self, config: str) -> str:
        """Returns a config.pbtxt changed so."""
        changed, found = BATCHING.subn(f"{self.text}\n", config)
        if not found:
            raise ValueError("a config.pbtxt says nothing about batches")
        return changed.replace("count: 1\n", f"count: {self.instances}\n", 1)


def batching(name: str, text: str = "", instances: int = 1) -> Variant:
    return Variant(name, f"dynamic_batching {{ {text} }}", instances)


CHOSEN = batching("`dynamic_batching { }`, what the export writes")
PREFERRED = batching("`preferred_batch_size: [2]`", "preferred_batch_size: [2]")
WITH_LEVELS = batching("`priority_levels: 2`", LEVELS)
VARIANTS = (
    Variant("no `dynamic_batching`", ""),
    CHOSEN,
    PREFERRED,
    batching("`max_queue_delay_microseconds: 1000`", "max_queue_delay_microseconds: 1000"),
    batching("`preserve_ordering: true`", "preserve_ordering: true"),
    WITH_LEVELS,
    batching(
        "`priority_levels: 2`, `max_queue_delay_microseconds: 1000`",
        f"{LEVELS} max_queue_delay_microseconds: 1000",
    ),
    batching("`priority_levels: 2`, two instances", LEVELS, instances=2),
    batching(
        "`default_queue_policy { max_queue_size: 64 }`",
        "default_queue_policy { max_queue_size: 64 }",
    ),
    batching(
        "`default_queue_policy { default_timeout_microseconds: 60000000 }`",
        "default_queue_policy { default_timeout_microseconds: 60000000 }",
    ),
)


@contextmanager
def running(repository: Path, variant: Variant) -> Iterator[RunningTriton]:
    """Triton with some of the models, configured so."""
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch) / "models"
        for name in ASKED_AT_ONCE:
            shutil.copytree(repository / name, models / name)
            path = models / name / "config.pbtxt"
            path.write_text(variant.applied(path.read_text()))
        with served(models, Path(scratch)) as triton:
            yield triton


def cpu_s(pid: int) -> float:
    """Returns the processor time of Triton and its stubs."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def of_variant(repository: Path, manifest: Manifest, variant: Variant) -> tuple[object, ...]:
    """Returns a row of the first table."""
    denoiser = NETWORKS[manifest.variant]["denoiser"]
    with running(repository, variant) as triton, InferenceServerClient(triton.grpc_url) as client:
        held = one_at_a_time(client, "time_modulation", REQUESTS)
        config = model_config(client, denoiser.name)
        shapes = window_shapes(denoiser, config, manifest.variant, manifest.sizes[0], 33)
        step = zeros(config, shapes)
        client.infer(denoiser.name, step)
        before_s = cpu_s(triton.pid)
        load = together(triton.grpc_url, denoiser.name, step, clients=CLIENTS, requests=STEPS)
        spent_ms = 1e3 * (cpu_s(triton.pid) - before_s) / (CLIENTS * STEPS)
    return variant.name, held.held, f"{load.rows / load.executions:.1f}", f"{spent_ms:.0f}"


def others_go_first(repository: Path, manifest: Manifest, variant: Variant) -> tuple[object, ...]:
    """Returns a row of the second table: what a newcomer sees of the streams that are there."""
    denoiser = NETWORKS[manifest.variant]["denoiser"]
    stopped = threading.Event()
    with running(repository, variant) as triton, InferenceServerClient(triton.grpc_url) as client:
        config = model_config(client, denoiser.name)

        def step(frames: int) -> Callable[[InferenceServerClient, int], object]:
            shapes = window_shapes(denoiser, config, manifest.variant, manifest.sizes[0], frames)
            inputs = zeros(config, shapes)
            return lambda own, level: own.infer(denoiser.name, inputs, priority=level)

        def stream() -> None:
            later = step(33)
            with InferenceServerClient(triton.grpc_url) as own:
                while not stopped.is_set():
                    later(own, 0)

        streams = [threading.Thread(target=stream) for _ in range(CLIENTS - 1)]
        for thread in streams:
            thread.start()
        first = step(17)
        first(client, NEWCOMER_LEVEL)
        before = Counters.of(client, denoiser.name)
        for _ in range(STEPS):
            first(client, NEWCOMER_LEVEL)
        after = Counters.of(client, denoiser.name)
        stopped.set()
        for thread in streams:
            thread.join()
    return variant.name, after.rows - before.rows - STEPS


CAUSE = """A client sends each request as soon as the one before is answered, and Triton 2.51
holds some of them in its queue for half a second, in some of the batcher's settings. In all of
these it waits until an instance is free before it forms a batch: it looks, sleeps, and is woken
when an execution ends, which is a moment before the instance says that it is free. If it looks in
that moment, nobody wakes it again, and it sleeps its 500 ms out, or until the next request comes.
Levels of priority and limits of the queue bring that wait; without them Triton fetches batches
ahead, and nothing is held. It is in the core's scheduler (`WaitForPayloadSlotAvailable` in
`dynamic_batch_scheduler.cc`), and was there in the core's main branch in June 2026 too, so the
configurations are the same for NVIDIA's container. Tried by hand: a model of three lines in
Triton's own Python backend is held as often, and `--rate-limit=execution_count` changes nothing.

`python -m tests.reports.queue URL` counts it in any Triton."""

BATCHES = """Of {requests} requests of one client to `time_modulation`, how many Triton held for
more than 100 ms by its own counter; how many steps an execution of the denoiser merges when
{clients} clients ask for a step of two branches at the same time; and the processor time that one
of these steps took, on one thread."""

READING = """So every network has `dynamic_batching { }`. Sizes are not preferred: Triton closes a
batch that waits as soon as it has one of them, though more may fit. On a CPU a merged batch costs
what its steps cost alone, so merging pays nothing here; on a GPU it should where one step does not
fill it, which was not measured."""

PRIORITY = """What levels of priority were for: while {others} streams ask for steps of 33 frames
without a pause, a newcomer asks for the {steps} steps of a first window of 17. How many of the
others' steps were computed meanwhile:"""

INSTEAD = """So the gateway says who goes first, before an execution reaches Triton, in
`server/triton/precedence.py`. Gateways that share a Triton do not know each other's newcomers."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    repository = parser.parse_args().repository
    manifest = read_manifest(repository)
    rows = [of_variant(repository, manifest, variant) for variant in VARIANTS]
    compared = (WITH_LEVELS, CHOSEN)
    write_measured(
        "triton.md",
        "batching",
        "Triton's queue",
        "## What holds executions back",
        CAUSE,
        BATCHES.format(requests=REQUESTS, clients=CLIENTS),
        table(("configuration", "held", "steps merged", "CPU ms a step"), rows),
        READING,
        "## Who goes first",
        PRIORITY.format(others=CLIENTS - 1, steps=STEPS),
        table(
            ("configuration", "others' steps"),
            [others_go_first(repository, manifest, variant) for variant in compared],
        ),
        INSTEAD,
    )


if __name__ == "__main__":
    main()
