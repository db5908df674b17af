"""The keeper of a Triton of our own: its ports, and when it says that one is up."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.errors import EngineUnavailableError
from server.settings import DEFAULT_PORT, Settings
from server.triton import keeper as keeper_module
from server.triton.errors import StartupExitError
from server.triton.keeper import MAX_CRASHES, TritonKeeper, trace_options
from server.triton.ports import USUAL_PORTS, Ports, choose_ports
from server.triton.process import RunningTriton


class Installation:
    """One whose Triton knows every option."""

    def knows(self, option: str) -> bool:
        return True


class Tritons:
    """What the keeper starts: processes that do nothing. They can be reached when it is said."""

    def __init__(self) -> None:
        self.started: list[RunningTriton] = []
        self.options: Sequence[str] = ()
        self.reachable = False
        self.failures: list[int] = []
        """Statuses with which the next ones end before they are ready."""
        self.asked = 0

    @asynccontextmanager
    async def start(
        self, *_: Any, ports: Ports, options: Sequence[str], **__: Any
    ) -> AsyncIterator[RunningTriton]:
        self.options = options
        if self.failures:
            raise StartupExitError(self.failures.pop(0), "last words", Path("triton.log"))
        process = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
        triton = RunningTriton(
            grpc_url=f"127.0.0.1:{ports.grpc}",
            http_url=f"127.0.0.1:{ports.http}",
            metrics_url="",
            pid=process.pid,
            log_path=Path("triton.log"),
            process=process,
        )
        self.started.append(triton)
        try:
            yield triton
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def live(self, timeout_s: float) -> None:
        self.asked += 1
        if not self.reachable:
            raise EngineUnavailableError("triton", "it gives no sign of life")


@pytest.fixture
def tritons(monkeypatch: pytest.MonkeyPatch) -> Tritons:
    fake = Tritons()
    monkeypatch.setattr(keeper_module, "start_triton", fake.start)
    monkeypatch.setattr(keeper_module, "find_triton", lambda venv: Installation())
    monkeypatch.setattr(keeper_module, "REACH_INTERVAL_S", 0.01)
    return fake


async def asked_again(tritons: Tritons) -> None:
    """Waits until a question has been answered that was asked from now on."""
    seen = tritons.asked
    async with asyncio.timeout(20):
        while tritons.asked < seen + 2:  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.01)


async def test_a_triton_is_up_when_it_can_be_reached(tritons: Tritons) -> None:
    keeper = TritonKeeper(Settings.model_validate({"port": 0}))
    lost: list[None] = []
    running = asyncio.create_task(keeper.run(lambda: lost.append(None), tritons.live))
    ready = asyncio.create_task(keeper.ready())
    await asked_again(tritons)
    assert not ready.done()

    # One that dies before it was reached is replaced all the same.
    tritons.started[0].process.send_signal(signal.SIGKILL)
    async with asyncio.timeout(20):
        while len(tritons.started) < 2:  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.01)
    assert len(lost) == 1
    await asked_again(tritons)
    assert not ready.done()

    tritons.reachable = True
    async with asyncio.timeout(20):
        await ready
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


async def test_a_triton_that_crashes_while_it_starts_is_started_again(tritons: Tritons) -> None:
    tritons.failures = [-6, -11]
    tritons.reachable = True
    keeper = TritonKeeper(Settings.model_validate({"port": 0}))
    running = asyncio.create_task(keeper.run(lambda: None, tritons.live))
    async with asyncio.timeout(20):
        await keeper.ready()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


@pytest.mark.parametrize(("failures", "left"), [([1, -6], 1), ([-6] * MAX_CRASHES, 0)])
async def test_one_that_ends_itself_or_crashes_each_time_is_not(
    tritons: Tritons, failures: list[int], left: int
) -> None:
    tritons.failures = list(failures)
    keeper = TritonKeeper(Settings.model_validate({"port": 0}))
    with pytest.raises(StartupExitError):
        await keeper.run(lambda: None, tritons.live)
    assert len(tritons.failures) == left


URL = "http://collector:4318/v1/traces"


@pytest.mark.parametrize(
    ("stated", "options"),
    [
        ({"triton_shared_memory": "auto"}, ["--allow-client-shm=true"]),
        ({"triton_shared_memory": "off"}, []),
        ({"triton_shared_memory": "off", "triton_traces_url": URL}, trace_options(URL)),
    ],
)
async def test_a_triton_is_told_to_share_memory_and_to_trace_as_is_stated(
    tritons: Tritons, stated: dict[str, str], options: list[str]
) -> None:
    keeper = TritonKeeper(Settings.model_validate({"port": 0, **stated}))
    running = asyncio.create_task(keeper.run(lambda: None, tritons.live))
    await asked_again(tritons)
    assert tritons.options == options
    running.cancel()
    await asyncio.wait([running])


def test_preferred_ports_are_taken_where_they_are_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        preferred = Ports(http=taken.getsockname()[1], grpc=held.getsockname()[1])
        held.close()
        chosen = choose_ports(Ports(), preferred=preferred)
    assert chosen.grpc == preferred.grpc
    assert chosen.http not in (0, preferred.http)
    assert chosen.metrics != 0


@pytest.mark.parametrize(("port", "prefers"), [(DEFAULT_PORT, True), (50052, False), (0, False)])
def test_only_the_gateway_on_the_default_port_prefers_the_usual_ports(
    monkeypatch: pytest.MonkeyPatch, port: int, prefers: bool
) -> None:
    asked: list[Ports] = []

    def choose(ports: Ports, *, preferred: Ports) -> Ports:
        asked.append(preferred)
        return choose_ports(ports)

    monkeypatch.setattr(keeper_module, "choose_ports", choose)
    TritonKeeper(Settings.model_validate({"port": port}))
    assert (asked == [USUAL_PORTS]) == prefers
