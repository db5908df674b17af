"""How soon a gateway finds out that its Triton hangs or dies, and serves again.

python -m tests.reports.health REPOSITORY
"""

import argparse
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import grpc
from echomimic.v1 import avatar_service_pb2 as pb

from server.settings import Settings
from server.triton import pace, watch
from tests.reports import markdown
from tests.support.freeze import freeze
from tests.support.gateway_process import Running, gateway, until, wait_for_frame
from tests.support.serving import chunk, speech, start

RUNS = 5
RATE_HZ = 16_000
INTERVAL_S: float = Settings.model_fields["health_interval_s"].default
WINDOWS_FRAMES = 5 + 7 + 7
"""New frames of the first three windows."""
STUB, TRITON = "denoiser_0_0", "tritonserver"


def sends(number: signal.Signals) -> Callable[[int], None]:
    return lambda pid: os.kill(pid, number)


FAULTS: dict[str, tuple[str, Callable[[int], None]]] = {
    "Triton is stopped (SIGSTOP)": (TRITON, sends(signal.SIGSTOP)),
    "Triton is killed (SIGKILL)": (TRITON, sends(signal.SIGKILL)),
    "the denoiser's stub is stopped": (STUB, sends(signal.SIGSTOP)),
    "the denoiser's stub is killed": (STUB, sends(signal.SIGKILL)),
    "the denoiser's execution hangs": (STUB, freeze),
}
"""What goes wrong: with which process, and how. A stub that hangs still tells Triton it lives."""


@dataclass(frozen=True)
class Reaction:
    """Seconds after the fault until health says so, and until it says that all is well again."""

    found_s: float
    served_s: float


@contextmanager
def streaming(running: Running) -> Generator[None]:
    """Streams without an end, past the windows whose lengths are new to Triton."""
    ended = threading.Event()

    def messages() -> Iterator[pb.AnimateRequest]:
        yield start()
        yield chunk(speech(120 * RATE_HZ).tobytes())
        ended.wait()

    call = running.stub.Animate(messages())
    for _ in range(WINDOWS_FRAMES):
        wait_for_frame(call)
    reading = threading.Thread(target=_read, args=(call,))
    reading.start()
    try:
        yield
    finally:
        ended.set()
        call.cancel()
        reading.join()


def _read(call: Iterator[pb.AnimateResponse]) -> None:
    try:
        for _ in call:
            pass
    except grpc.RpcError:
        return


def reaction(running: Running, fault: str) -> Reaction:
    victim, harm = FAULTS[fault]
    (process,) = running.processes(victim)
    harm(process.pid)
    begin_s = time.monotonic()
    until(lambda: not running.serving(), timeout_s=150)
    found_s = time.monotonic() - begin_s
    until(running.serving, timeout_s=300)
    return Reaction(found_s, time.monotonic() - begin_s)


def reactions(running: Running, fault: str, *, busy: bool) -> list[Reaction]:
    found: list[Reaction] = []
    for _ in range(RUNS):
        if busy:
            with streaming(running):
                found.append(reaction(running, fault))
        else:
            # Somewhere between two trials.
            time.sleep(random.uniform(0, 2 * INTERVAL_S))
            found.append(reaction(running, fault))
        print(fault, "busy" if busy else "idle", found[-1], flush=True)
    return found


def row(fault: str, busy: bool, found: list[Reaction]) -> tuple[str, ...]:
    late = [each.found_s for each in found]
    served = [each.served_s for each in found]
    return (
        fault,
        "streaming" if busy else "idle",
        *(f"{value:.1f}" for value in (median(late), max(late), median(served), max(served))),
    )


EXPLANATION = f"""Health (`grpc.health.v1`) is SERVING while networks are known to run. Three things
tell, in `server/triton/watch.py` (and a fourth whether they are the right ones:
[configuration.md](configuration.md#a-triton-of-another-checkpoint)):

- A sign of life, asked for every {watch.LIFE_INTERVAL_S:g} s, busy or not. {watch.MISSES} that are
  missed in a row tell that Triton hangs as a whole.
- The executions of streams. A network hangs that has answered nothing for {pace.HANG_S:g} s and
  for {pace.HANG_FACTOR:g} times what all that its Triton was asked for usually takes, told by the
  amount of the inputs (`server/triton/pace.py`). So one that is slow, has much waiting, or is still
  at what a client gave up is told from one that hangs. The first execution of an amount may take
  `--inference-timeout-s`: engines prepare themselves for new shapes.
- Trials where nothing runs, `--health-interval-s` after each other ({INTERVAL_S:g} s), and at least
  {watch.REST_FACTOR:g} times as long as one takes: two denoising steps of silence at the smallest
  size, through every network but umT5. One that takes longer than {watch.TRIAL_TIMEOUT_S:g} s and
  than {watch.TRIAL_FACTOR:g} times what the one at start took has failed. After a fault of the
  engine every network is tried, umT5 too, before it is used again; after an execution that failed
  by itself, its network.

A Triton of the gateway's own is replaced at once where it gives no sign of life or a network hangs,
and else after {watch.FAILURES_TO_REPLACE} failed trials; of several Tritons by URL the others take
over. What runs when a fault is found is run again with the next of several Tritons, or when
there is one again: streams go on. Only after `--triton-wait-s` does a call end as UNAVAILABLE."""

CONDITIONS = f"""Seconds until health says NOT_SERVING, and until it says SERVING again with a new
Triton, in {RUNS} runs each: on two cores without a GPU, with the demo's models, windows of 5 and 9
frames and two steps."""

NOTICED = """A stub that is stopped or dead Triton notices itself, when it next asks it for
something. One whose execution hangs goes on telling Triton that it lives, and only the gateway
notices; here its main thread was stopped and no other."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    repository = parser.parse_args().repository
    rows: list[tuple[str, ...]] = []
    with TemporaryDirectory() as folder, gateway(Path(folder), repository=repository) as running:
        for fault, busy in itertools.product(FAULTS, (False, True)):
            rows.append(row(fault, busy, reactions(running, fault, busy=busy)))
    header = ("what happens", "while", "found, s", "at most", "serves again, s", "at most")
    title = "How soon faults of Triton are found"
    measured = ("## Measured", CONDITIONS, markdown.table(header, rows), NOTICED)
    markdown.write_measured("health.md", "health", title, EXPLANATION, *measured)


if __name__ == "__main__":
    main()
