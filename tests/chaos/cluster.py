"""Two gateways and two Tritons behind the real Envoy, restarted one by one under load.

python -m tests.chaos.cluster
"""

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc

from server.triton.ports import Ports
from tests.chaos.envoy import envoy
from tests.chaos.history import Client, Ended, History, frames
from tests.chaos.model import violations
from tests.chaos.scene import FRAME_RATE, messages
from tests.support.gateway_process import Running, free_port, gateway, until
from tests.support.paths import TINY_REPOSITORY
from tests.support.toy_triton import served

SIZE = 2
SPOKEN_S = 1.0
STREAMS = 4
"""At once: all of them on one connection."""
BALANCED_STREAMS = 24
MAX_OVER_MEAN = 1.3
GRACE_S = 60


@dataclass
class Load:
    """Streams one after the other, several at once; each is judged when it has ended."""

    address: str
    problems: list[str] = field(default_factory=list)
    streams: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ended(self, history: History) -> None:
        """Judges a stream: it has to be whole."""
        found = violations(history)
        last = history[-1]
        if isinstance(last, Ended) and last.code != "OK":
            found.append(f"it ended as {last.code} {last.reason}")
        if len(frames(history)) != SPOKEN_S * FRAME_RATE:
            found.append(f"it has {len(frames(history))} frames")
        with self._lock:
            self.streams += 1
            self.problems += [f"stream {self.streams}: {each}" for each in found]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Streams as long as the context lasts; those under way then finish."""
        over = threading.Event()
        with grpc.insecure_channel(self.address) as channel:
            stub = pb_grpc.AvatarServiceStub(channel)

            def stream() -> None:
                while not over.is_set():
                    client = Client(stub)
                    client.send(*messages(SPOKEN_S))
                    self.ended(client.finish())

            threads = [threading.Thread(target=stream) for _ in range(STREAMS)]
            for thread in threads:
                thread.start()
            try:
                yield
            finally:
                over.set()
                for thread in threads:
                    thread.join()

    def go_on(self, more: int) -> None:
        """Waits until so many more streams have ended."""
        target = self.streams + more
        until(lambda: self.streams >= target, timeout_s=300)


class Cluster:
    """Gateways and Tritons, each of which can be restarted where it is."""

    def __init__(self, folder: Path) -> None:
        """Begins with nothing running."""
        self._folder = folder
        self._names = count()
        self.gateway_ports = [free_port() for _ in range(SIZE)]
        self.triton_ports = [free_port() for _ in range(SIZE)]
        self.gateways: list[Running] = []
        self._stacks: dict[int, ExitStack] = {}

    @contextmanager
    def up(self) -> Iterator[str]:
        """Runs all of it; gives Envoy's address."""
        with ExitStack() as stack:
            stack.callback(self._down)
            for port in self.triton_ports:
                self._start_triton(port)
            self.gateways = [self._start_gateway(port) for port in self.gateway_ports]
            addresses = [running.address for running in self.gateways]
            yield stack.enter_context(envoy(self._folder, addresses))

    def restart_gateway(self, number: int) -> int:
        """Stops a gateway in order and starts it anew; returns how the old one exited."""
        running = self.gateways[number]
        running.process.terminate()
        status = running.process.wait(GRACE_S + 30)
        self._stacks.pop(self.gateway_ports[number]).close()
        self.gateways[number] = self._start_gateway(self.gateway_ports[number])
        return status

    def restart_triton(self, number: int) -> None:
        """Stops a Triton in order and starts it anew; waits until every gateway uses it again."""
        port = self.triton_ports[number]
        self._stacks.pop(port).close()
        used = [self._used(running, port) for running in self.gateways]
        self._start_triton(port)
        until(
            lambda: all(
                self._used(running, port) > before
                for running, before in zip(self.gateways, used, strict=True)
            )
        )

    def streams(self) -> list[int]:
        """Returns how many streams each gateway has begun."""
        return [running.log.read_text().count("Animate begins") for running in self.gateways]

    def _used(self, running: Running, port: int) -> int:
        return len(re.findall(rf"triton is used .*:{port}\b", running.log.read_text()))

    def _start_triton(self, port: int) -> None:
        stack = self._stacks[port] = ExitStack()
        stack.enter_context(served(TINY_REPOSITORY, self._place(), Ports(grpc=port)))

    def _start_gateway(self, port: int) -> Running:
        stack = self._stacks[port] = ExitStack()
        urls = ",".join(f"127.0.0.1:{port}" for port in self.triton_ports)
        words = (f"--triton-url={urls}", f"--shutdown-grace-s={GRACE_S}")
        return stack.enter_context(gateway(self._place(), *words, port=port))

    def _place(self) -> Path:
        place = self._folder / str(next(self._names))
        place.mkdir()
        return place

    def _down(self) -> None:
        for stack in reversed(self._stacks.values()):
            stack.close()


def run(folder: Path, balanced: int = BALANCED_STREAMS) -> tuple[list[str], list[str]]:
    """Runs a cluster under load and restarts each of its parts.

    Args:
        folder: for logs.
        balanced: streams by which it is judged how they are balanced.

    Returns:
        What can be said of it, and what is wrong.
    """
    facts: list[str] = []
    problems: list[str] = []
    cluster = Cluster(folder)
    with cluster.up() as address:
        load = Load(address)
        with load.running():
            load.go_on(balanced)
            begun = cluster.streams()
            over_mean = max(begun) * SIZE / sum(begun)
            facts.append(
                f"{sum(begun)} streams on one connection: {' and '.join(map(str, begun))} on each "
                f"gateway, {over_mean:.2f} max/mean"
            )
            if over_mean > MAX_OVER_MEAN:
                problems.append(f"unbalanced: {over_mean:.2f} max/mean")
            for number in range(SIZE):
                status = cluster.restart_gateway(number)
                if status:
                    problems.append(f"gateway {number} exited with {status}")
                load.go_on(STREAMS)
            for number in range(SIZE):
                cluster.restart_triton(number)
                load.go_on(STREAMS)
        facts.append(
            f"each gateway and each Triton restarted under load: {load.streams} streams, "
            f"{len(load.problems)} of them not whole"
        )
    return facts, problems + load.problems


def main() -> int:
    with TemporaryDirectory() as folder:
        facts, problems = run(Path(folder))
    print("\n".join([*facts, *problems]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
