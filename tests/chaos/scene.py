"""A gateway with a real Triton that things happen to, and what each of them costs."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from echomimic.v1 import avatar_service_pb2 as pb

from server.triton.workdir import OF_GATEWAYS, PREFIX, SHARED_MEMORY
from tests.chaos.history import Client, Ended, History, Sent, frames
from tests.chaos.model import violations
from tests.support.gateway_process import Running, gateway, until
from tests.support.serving import END, chunk, speech, start

RATE_HZ = 16_000
FRAME_RATE = 25
SPEECH_S = 4.0
BEGUN_FRAMES = 10
MORE_DESCRIPTORS, MORE_BYTES = 8, 48 * 2**20
"""What a gateway may have more of after a fault than before it."""
SETTLING_S = 20.0


@dataclass
class Row:
    """What came of a fault."""

    fault: str
    saw: str = ""
    recovered_s: float | None = None
    """Until frames went on, or until the first one of the next stream."""
    lost: str = "nothing"
    leaked: str = "nothing"
    problems: list[str] = field(default_factory=list)
    """Why it has failed."""

    def expect(self, holds: object, problem: str) -> None:
        """Notes a problem unless something holds."""
        if not holds:
            self.problems.append(problem)


@dataclass(frozen=True)
class Held:
    """What a gateway holds at a moment, and how many processes are below it."""

    processes: int
    descriptors: int
    memory_bytes: int

    @classmethod
    def by(cls, running: Running) -> "Held":
        """Measures a gateway."""
        process = psutil.Process(running.process.pid)
        children = process.children(recursive=True)
        return cls(len(children), process.num_fds(), process.memory_info().rss)

    def more_than(self, before: "Held") -> str:
        """Returns what has become more, of what must not; nothing if nothing has."""
        more = [
            (self.processes - before.processes, 0, "processes"),
            (self.descriptors - before.descriptors, MORE_DESCRIPTORS, "descriptors"),
            (self.memory_bytes - before.memory_bytes, MORE_BYTES, "bytes"),
        ]
        return ", ".join(f"{count} {what}" for count, most, what in more if count > most)


@dataclass
class Scene:
    """A gateway at work, and the frames of an undisturbed stream."""

    running: Running
    undisturbed: list[bytes]

    @classmethod
    def of(cls, running: Running) -> "Scene":
        """Has a gateway serve a stream."""
        first = Client(running.stub)
        first.send(*messages(SPEECH_S))
        return cls(running, [event.message.frame.data for event in frames(first.finish())])

    def say(self, **stated: Any) -> Client:
        """Opens a stream and says something in it, the same every time."""
        client = Client(self.running.stub)
        client.send(*messages(SPEECH_S, **stated))
        return client

    @contextmanager
    def row(self, fault: str) -> Iterator[Row]:
        """A fault; afterwards a stream has to be served whole, and nothing may be held for it."""
        row = Row(fault)
        before = Held.by(self.running)
        try:
            yield row
            self._serves_again(row)
            if not settled(lambda: not Held.by(self.running).more_than(before)):
                row.leaked = Held.by(self.running).more_than(before)
                row.problems.append(f"leaked {row.leaked}")
        except (AssertionError, TimeoutError) as error:
            row.problems.append(str(error) or "it did not come to an end")

    def disturb(
        self, row: Row, harm: Callable[[], object], *expected: str, loses: bool = False
    ) -> History:
        """Does something to a stream under way, and judges what its client saw.

        Args:
            row: of the fault.
            harm: the fault.
            expected: codes or reasons, by one of which the call has to end; OK if none are given.
            loses: whether speech may be lost.
        """
        client = self.say()
        client.wait_for_frames(BEGUN_FRAMES)
        since_s = time.monotonic()
        harm()
        history = client.finish()
        self.judge(row, history, since_s, *expected or ("OK",))
        row.expect(loses or row.lost == "nothing", f"lost {row.lost}")
        return history

    def judge(
        self, row: Row, history: History, since_s: float, *expected: str, levels: int = 0
    ) -> None:
        """Judges a stream that says what `say` does.

        Args:
            row: of the fault.
            history: of the stream.
            since_s: when the fault was.
            expected: codes or reasons, by one of which the call has to end.
            levels: by how much its frames may differ from those of an undisturbed stream: by one
                where another stream ran beside, since merged batches add up in another order.
        """
        row.problems += violations(history)
        pictures = [event.message.frame.data for event in frames(history)]
        differ = max(map(difference, pictures, self.undisturbed), default=0)
        row.expect(differ <= levels, "frames are not those of an undisturbed stream")
        if (missing := len(self.undisturbed) - len(pictures)) > 0:
            row.lost = f"{missing / FRAME_RATE:.1f} s that were said and not shown"
        last = history[-1]
        if not isinstance(last, Ended):
            row.saw = f"no end, after {len(pictures)} frames"
            return
        told = last.reason or last.code
        row.expect({last.reason, last.code} & set(expected), f"the call ended as {told}")
        row.saw = f"{told}, {len(pictures)} frames"
        if last.code == "OK":
            row.recovered_s = longest_gap_s(history, since_s)
        else:
            row.saw += f", {last.at_s - since_s:.1f} s after the fault"

    def _serves_again(self, row: Row) -> None:
        since_s = time.monotonic()
        until(self.running.serving, timeout_s=180)
        history = self.say().finish()
        again = Row(row.fault)
        self.judge(again, history, since_s, "OK")
        row.problems += [f"the next stream: {problem}" for problem in again.problems]
        if row.recovered_s is None and (came := frames(history)):
            row.recovered_s = came[0].at_s - since_s


def messages(seconds: float, **stated: Any) -> list[pb.AnimateRequest]:
    """Returns a whole stream of speech, the same every time."""
    return [start(**stated), chunk(speech(round(seconds * RATE_HZ)).tobytes()), END]


def difference(ours: bytes, theirs: bytes) -> int:
    """Returns by how many levels two pictures differ at most."""
    one, other = (np.frombuffer(data, np.uint8).astype(np.int16) for data in (ours, theirs))
    return int(np.abs(one - other).max())


def longest_gap_s(history: History, since_s: float) -> float:
    """Returns how long a client got nothing since a moment."""
    came_s = [event.at_s for event in history if not isinstance(event, Sent)]
    times_s = [since_s, *(at_s for at_s in came_s if at_s > since_s)]
    return max((after - before for before, after in itertools.pairwise(times_s)), default=0.0)


@contextmanager
def scene(folder: Path, *words: str, **options: Any) -> Iterator[Scene]:
    """A gateway that has served a stream."""
    with gateway(folder, *words, **options) as running:
        yield Scene.of(running)
        running.process.terminate()
        running.process.wait(60)


def goes_down(running: Running, folder: Path) -> Row:
    """Ends a gateway in order, and looks for what it leaves behind."""
    row = Row("SIGTERM, after all of it")
    children = psutil.Process(running.process.pid).children(recursive=True)
    names = region_names(running, folder)
    since_s = time.monotonic()
    running.process.terminate()
    row.saw = f"the process ended with {running.process.wait(60)}"
    row.recovered_s = time.monotonic() - since_s
    left = [child for child in children if child.is_running()]
    regions = [path for name in names for path in SHARED_MEMORY.glob(name)]
    if left or regions:
        row.leaked = f"{len(left)} processes, {len(regions)} regions"
        row.problems.append(f"leaked {row.leaked}")
    return row


def region_names(running: Running, folder: Path) -> list[str]:
    """Returns what names of shared memory look like, of a gateway and of its Triton."""
    workdirs = [workdir.name for workdir in folder.glob(f"{PREFIX}*/")]
    return [f"{name}-*" for name in (f"{OF_GATEWAYS}{running.process.pid}", *workdirs)]


def settled(condition: Callable[[], object], timeout_s: float = SETTLING_S) -> bool:
    """Waits for something; returns whether it has come."""
    try:
        until(condition, timeout_s=timeout_s)
    except AssertionError:
        return False
    return True
