"""What clients do, and what happens to them and to their connections."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import grpc
import psutil
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc

from server.settings import Settings
from tests.chaos.envoy import envoy
from tests.chaos.history import Client, Ended
from tests.chaos.model import violations
from tests.chaos.network import wire
from tests.chaos.scene import SPEECH_S, Row, Scene, messages
from tests.support.gateway_process import Running, until

PLACES: int = Settings.model_fields["max_streams"].default
SLOW_READER = "RESOURCE_EXHAUSTED/SLOW_READER"
LONG_S = 60.0
"""More speech than fits between a gateway and a client that does not read."""


def stream(address: str, name: str, begun: Any) -> None:
    """A client in a process of its own: says that it has begun, and reads on."""
    with grpc.insecure_channel(address) as channel:
        stub = pb_grpc.AvatarServiceStub(channel)
        client = Client(stub, metadata=(("x-request-id", name),))
        client.send(*messages(LONG_S))
        client.wait_for_frames(1)
        begun.set()
        client.finish()


@contextmanager
def other_process(address: str, name: str) -> Iterator[BaseProcess]:
    """A client in a process of its own, whose frames have begun to come."""
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=stream, args=(address, name, begun))
    process.start()
    try:
        assert begun.wait(60), "the client has not begun"
        yield process
    finally:
        process.kill()
        process.join()


def ended_as(running: Running, name: str) -> str:
    """Returns how the log says that a call has ended; nothing before that."""
    for line in running.log.read_text().splitlines():
        if f"request_id={name}" in line and " status=" in line:
            return line.partition(" status=")[2].split()[0]
    return ""


def _gives_its_place(
    it: Scene, row: Row, name: str, harm: Callable[[], object], timeout_s: float, *expected: str
) -> None:
    """Does something to a client, and waits until the gateway has let it go."""
    since_s = time.monotonic()
    harm()
    until(lambda: ended_as(it.running, name), timeout_s=timeout_s)
    row.recovered_s = time.monotonic() - since_s
    outcome = ended_as(it.running, name)
    row.saw = f"nobody sees it; the call ends as {outcome}"
    row.expect(outcome in expected, f"the call ended as {outcome}")


def client_is_killed(it: Scene) -> Row:
    with (
        it.row("kill -9 of a client") as row,
        other_process(it.running.address, "killed") as client,
    ):
        _gives_its_place(it, row, "killed", client.kill, 10, "CANCELLED")
    return row


def client_is_stopped(it: Scene) -> Row:
    """It no longer reads, and its kernel takes no more than fits into buffers."""

    def stop() -> None:
        assert client.pid is not None
        psutil.Process(client.pid).send_signal(signal.SIGSTOP)

    with (
        it.row("SIGSTOP of a client") as row,
        other_process(it.running.address, "stopped") as client,
    ):
        _gives_its_place(it, row, "stopped", stop, 90, SLOW_READER, "CANCELLED")
    return row


def connection_is_half_open(it: Scene) -> Row:
    """The client's end is gone without a word."""
    with it.row("half-open TCP") as row:
        _cut(it, row, it.running.address, "half-open")
    return row


def connection_to_envoy_is_half_open(it: Scene, folder: Path) -> Row:
    """Envoy is between the client, which is gone without a word, and the gateway."""
    with it.row("half-open TCP, behind Envoy") as row, envoy(folder, [it.running.address]) as front:
        _cut(it, row, front, "half-open-behind-envoy")
    return row


def _cut(it: Scene, row: Row, address: str, name: str) -> None:
    with wire(address) as line, other_process(line.address, name):
        _gives_its_place(it, row, name, line.cut, 120, SLOW_READER, "CANCELLED")


def reader_stalls(it: Scene) -> Row:
    """A client that does not read, while another one is served."""
    with it.row("a stalled reader") as row:
        metadata = (("x-request-id", "stalled"),)
        client = Client(it.running.stub, reads=False, metadata=metadata)
        since_s = time.monotonic()
        client.send(*messages(LONG_S))
        it.judge(row, it.say().finish(), since_s, "OK", levels=1)
        until(lambda: ended_as(it.running, "stalled"), timeout_s=90)
        stalled = client.finish()
        row.problems += violations(stalled)
        told = stalled[-1].reason if isinstance(stalled[-1], Ended) else "no end"
        row.expect(told == "SLOW_READER", f"the call ended as {told}")
        row.saw = f"{told}; another stream meanwhile {row.saw}"
    return row


def client_writes_all_and_then_reads(it: Scene) -> Row:
    with it.row("write all, then read") as row:
        client = Client(it.running.stub, reads=False)
        since_s = time.monotonic()
        client.send(*messages(SPEECH_S))
        client.wait(lambda history: len(history) == len(messages(0.1)))
        it.judge(row, client.finish(), since_s, "OK")
    return row


def gateway_is_full(it: Scene) -> Row:
    """As many streams as there are places, and one more."""
    with it.row("every place taken") as row:
        first, *_, last = messages(SPEECH_S)
        clients = [Client(it.running.stub) for _ in range(PLACES)]
        for client in clients:
            client.send(first)
            client.wait(lambda history: len(history) > 1)
        since_s = time.monotonic()
        it.judge(row, it.say().finish(), since_s, "NO_FREE_STREAM")
        row.lost = "nothing that was taken"
        for client in clients:
            client.send(last)
            row.problems += violations(client.finish())
    return row
