"""What breaks, what clients see of it, and what it costs: ``make chaos``.

python -m tests.reports.reliability REPOSITORY [--rows NAME ...]
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tests.chaos import client_faults, engine_faults, machine_faults
from tests.chaos.interrupts import answered_s, interrupt, stale_s
from tests.chaos.model import violations
from tests.chaos.scene import Row, Scene, goes_down, scene
from tests.reports import markdown
from tests.support.gateway_process import gateway

INTERRUPTS = 1000
GOAL_S = 0.2
WORDS = ("--read-timeout-s=5",)
ON_ONE_GATEWAY: list[Callable[[Scene], Row]] = [
    client_faults.client_writes_all_and_then_reads,
    client_faults.gateway_is_full,
    client_faults.client_is_killed,
    client_faults.client_is_stopped,
    client_faults.reader_stalls,
    client_faults.connection_is_half_open,
    engine_faults.triton_is_killed,
    engine_faults.triton_is_stopped,
    engine_faults.stub_is_killed,
    engine_faults.stub_is_stopped,
    machine_faults.gateway_is_stopped,
]
BESIDE_IT: list[Callable[[Scene, Path], Row]] = [
    client_faults.connection_to_envoy_is_half_open,
    engine_faults.one_of_two_tritons_is_killed,
    engine_faults.triton_is_of_another_checkpoint,
]
ON_THEIR_OWN: list[Callable[[Path], Row]] = [
    engine_faults.triton_has_no_memory,
    machine_faults.gateway_is_killed,
    machine_faults.shared_memory_is_full,
    machine_faults.disk_is_full,
    machine_faults.clock_steps,
    machine_faults.certificate_expires,
]
HEADER = ("what happens", "what the client sees", "recovered, s", "lost", "leaked", "")

EXPLANATION = """Each row is done to a gateway as a process, with a real Triton and the tests'
models, while a stream is under way (`tests/chaos/`). What its client sent and saw is recorded, and
a model of the contract (`tests/chaos/model.py`) judges it: frame numbers without a gap, time
stamps, samples, utterances, one end. Its own tests forge histories, each of which it has to refuse.
Frames must be, bit for bit, those of an undisturbed stream (to one level of 255 where another
stream ran beside), and afterwards a stream is served whole. Recovered says for how long nothing
came; where the call ended, how long until the first frame of the next stream. Leaked is what the
gateway holds more of afterwards, of processes, descriptors and memory."""

LOST = """What is not lost where a call ends: no frame that has come is wrong or came twice, and no
utterance that was said to have ended lacks one. What was said and not shown has to be said again,
on another stream."""

NOTICED = """A step of the clock makes the Python backend of this Triton take its stubs for dead, so
that it is replaced; the gateway itself goes by the monotonic clock. NVIDIA's native backends have
no stubs."""

TRACK_RECORD = [
    (
        "a stream ended with its only Triton, though another came up in seconds",
        "this matrix",
        "tests/server/test_serve.py -k killed_triton",
    ),
    (
        "a client whose connection broke off behind Envoy was counted as INTERNAL",
        "this matrix",
        "tests/server/api/test_messages.py -k client_that_is_gone",
    ),
    (
        "a gateway that stood still took the clients it was writing to for slow readers",
        "this matrix",
        "tests/server/api/test_messages.py -k stood_still",
    ),
    (
        "a network that hangs was found only when an execution ran out of its two minutes",
        "measuring health",
        "tests/server/test_serve.py -k hangs",
    ),
    (
        "a stub whose Triton was killed hung on a lock of it, and stayed",
        "a test",
        "tests/server/triton/test_process.py -k parent_that_is_killed",
    ),
    (
        "what a killed gateway left in shared memory was found only by one with the same folder",
        "a test",
        "tests/server/triton/test_process.py -k killed_parent_left",
    ),
    (
        "levels of priority made Triton lose wake-ups, half a second each",
        "measuring batches",
        "tests/server/triton/test_queue.py",
    ),
    (
        "one error, shared by calls that waited for the same encoding, ended some as UNKNOWN",
        "a test",
        "tests/server/animation/test_cache.py",
    ),
    (
        "an error while headers were under way left the client without a status, for ever",
        "a test, on a busy machine",
        "tests/server/api/test_messages.py -k under_way",
    ),
    (
        "clients that were writing when a call was refused saw INTERNAL in place of its status",
        "a test, by a burst past a limit",
        "tests/server/api/test_limits.py -k buffer",
    ),
    (
        "an interruption waited behind all the speech that was sent before it",
        "trying what others' users report",
        "tests/server/api/test_limits.py -k interruption_is_heard",
    ),
    (
        "a client that pings every ten seconds lost its connection",
        "trying what others' users report",
        "tests/server/api/test_listener.py -k pings",
    ),
    (
        "a Triton that crashed while it started ended its gateway",
        "a test, on a busy machine",
        "tests/server/triton/test_keeper.py -k crashes",
    ),
    (
        "a client gone behind a proxy was found after two minutes in place of one",
        "a test of half-open connections",
        "tests/server/api/test_listener.py -k network_is_gone",
    ),
    (
        "a pong waited for the next event, if its ping came while something else was sent",
        "reading",
        "tests/server/sessions/test_announcing.py -k something_else",
    ),
    (
        "after an update that came meanwhile, steps were never lowered again",
        "reading",
        "tests/server/sessions/test_updates.py -k steps_that_are_lowered",
    ),
    (
        "interrupting and resuming, again and again, took memory without bound",
        "reading",
        "tests/server/sessions/test_report.py -k resumed",
    ),
    (
        "what a stream takes was counted for its first utterance only",
        "reading",
        "tests/server/sessions/test_load.py -k every_utterance",
    ),
    (
        "Envoy sent retries to the gateway that goes down, since it has the fewest streams",
        "`make cluster`",
        "tests/chaos/test_cluster.py",
    ),
]
"""What was found, how, and the tests that show it stays mended."""


def rows(names: list[str]) -> Iterator[Row]:
    """Yields what came of each fault, or of those named."""

    def chosen(faults: list) -> list:
        return [fault for fault in faults if not names or fault.__name__ in names]

    shared, beside = chosen(ON_ONE_GATEWAY), chosen(BESIDE_IT)
    if shared or beside:
        with TemporaryDirectory() as name, scene(Path(name), *WORDS) as it:
            for fault in shared:
                yield fault(it)
            for fault in beside:
                yield in_a_folder(partial(fault, it))
            yield goes_down(it.running, Path(name))
    for fault in chosen(ON_THEIR_OWN):
        yield in_a_folder(fault)


def in_a_folder(fault: Callable[[Path], Row]) -> Row:
    with TemporaryDirectory() as folder:
        return fault(Path(folder))


def cells(row: Row) -> tuple[str, ...]:
    """Returns a row of the table."""
    recovered = "" if row.recovered_s is None else f"{row.recovered_s:.1f}"
    verdict = f"FAIL: {'; '.join(dict.fromkeys(row.problems))}" if row.problems else "PASS"
    return (row.fault, row.saw, recovered, row.lost, row.leaked, verdict)


def interrupts(repository: Path, count: int) -> str:
    """Interrupts one stream so many times; returns a paragraph about it."""
    with TemporaryDirectory() as folder, gateway(Path(folder), repository=repository) as running:
        history = interrupt(running, count)
    problems = violations(history)
    stale_ms = 1000 * np.percentile(stale_s(history), (50, 99, 100))
    answered_ms = 1000 * np.percentile(answered_s(history), (50, 99, 100))
    verdict = "PASS" if not problems and stale_ms[1] <= 1000 * GOAL_S else "FAIL"
    header = ("", "p50, ms", "p99, ms", "most, ms")
    table = [
        ("from `interrupt` to the last stale frame", *(f"{value:.1f}" for value in stale_ms)),
        ("from `interrupt` to `interrupted`", *(f"{value:.1f}" for value in answered_ms)),
    ]
    said = (
        f"{count} interruptions in a row on one stream, each while frames came, with the demo's "
        f"models at their size; the goal is a p99 of {1000 * GOAL_S:g} ms. "
        f"{len(problems)} violations of the contract: {verdict}."
    )
    return f"{said}\n\n{markdown.table(header, table)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path, help="what is interrupted")
    parser.add_argument("--rows", nargs="+", default=[], help="faults by name; no page is written")
    options = parser.parse_args()
    found: list[tuple[str, ...]] = []
    for row in rows(options.rows):
        found.append(cells(row))
        print(" | ".join(found[-1]), flush=True)
    if options.rows:
        return
    record = [(what, by, f"`python -m pytest {test}`") for what, by, test in TRACK_RECORD]
    markdown.write_measured(
        "reliability.md",
        "reliability",
        "What breaks, and what clients see of it",
        EXPLANATION,
        markdown.table(HEADER, found),
        LOST,
        NOTICED,
        "## Interruptions",
        interrupts(options.repository, INTERRUPTS),
        "## Track record",
        "What was found, how, and what shows that it stays mended.",
        markdown.table(("fault", "found by", "shown to stay mended by"), record),
    )


if __name__ == "__main__":
    main()
