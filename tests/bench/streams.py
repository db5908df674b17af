"""Streams of speech to a gateway with the demo's models, as many as are asked for, and the start.

The client is in this process; the gateway, and a Triton, are processes of their own.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from client.demo.gateway_process import running_gateway
from client.demo.media import PORTRAIT, SPEECH
from echomimic_client.aio import AsyncAvatarClient
from echomimic_client.aio_streams import AsyncAnimation
from echomimic_client.audio import AudioClip, read_audio
from echomimic_client.choices import VideoFormat
from echomimic_client.errors import CallEndedError, CallError
from echomimic_client.results import Frame, Interrupted, UtteranceEvent
from server.triton.installation import TritonInstallation
from server.triton.process import start_triton
from tests.bench.load import Arrival, Trace, poisson_arrivals_s, spoken_at_s
from tests.bench.triton import spent
from tests.support.gateway_process import TRITON_VENV

CHUNK_MS = 40
INTERRUPTS = 3
INTERRUPTED_S = 2.0
"""Speech that is interrupted at its first frame."""
DEADLINE_S = 240.0
"""After which a stream is lost."""
MAX_STREAMS = "1024"
IDLE_S = 10.0


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        counts: streams at a time, in this order.
        total_s: speech of all streams together, unless one has less than ``least_s``.
        least_s: speech of a stream at least.
        rates_hz: of streams that open whatever has become of those before.
        open_s: for how long they open.
        open_speech_s: what each of them says.
        starts: how often the gateway is started.
        idle: streams that open and say nothing.
    """

    counts: Sequence[int] = (1, 2, 4, 8, 8, 4, 2, 1)
    total_s: float = 36.0
    least_s: float = 8.0
    rates_hz: Sequence[float] = (0.1, 0.2)
    open_s: float = 60.0
    open_speech_s: float = 4.0
    starts: int = 3
    idle: int = 1000


QUICK = Plan(
    counts=(1, 2),
    total_s=1.0,
    least_s=1.0,
    rates_hz=(1.0,),
    open_s=3.0,
    open_speech_s=0.5,
    starts=1,
    idle=10,
)


@dataclass(frozen=True)
class Run:
    """Streams at a time, in one mode.

    Attributes:
        mode: ``saturating``, ``paced`` or ``open``.
        load: how many streams, or of ``open`` how many a second.
        speech_s: what each says.
        traces: what their clients saw.
        wall_s: all of it.
        triton_s: Triton's executions, of which those that ran together count each.
    """

    mode: str
    load: float
    speech_s: float
    traces: Sequence[Trace]
    wall_s: float
    triton_s: float


@dataclass(frozen=True)
class Idle:
    """What open streams cost a gateway while nobody speaks."""

    streams: int
    bytes: int
    """By which the gateway's resident memory grew."""
    cores: float
    """CPU seconds a second."""


@dataclass(frozen=True)
class Found:
    """What was measured: the runs, and seconds from starting a gateway to its serving."""

    runs: Sequence[Run]
    starts_s: Sequence[float]
    idle: Idle


def speech(seconds: float) -> AudioClip:
    """Returns the demo's speech, again and again."""
    clip = read_audio(SPEECH)
    wanted = round(seconds * clip.format.sample_rate_hz) * clip.format.bytes_per_sample
    return AudioClip(clip.format, (clip.data * (wanted // len(clip.data) + 1))[:wanted])


async def stream(address: str, clip: AudioClip, *, paced: bool, interrupts: int = 0) -> Trace:
    """Speaks, and then interrupts some more speech so many times."""
    listener = _Listener(clip, interrupts)
    lost = ""
    async with AsyncAvatarClient(address) as client:
        animation = client.animate(
            PORTRAIT.read_bytes(), None, clip.format, video=VideoFormat(), deadline_s=DEADLINE_S
        )
        speaking = asyncio.create_task(listener.speak(animation, paced=paced))
        try:
            await listener.listen(animation)
        except CallError as error:
            lost = str(error)
        finally:
            speaking.cancel()
            await asyncio.wait([speaking])
    return listener.trace(animation, lost)


class _Listener:
    """One client: says its speech, and notes when what comes."""

    def __init__(self, clip: AudioClip, interrupts: int) -> None:
        self._clip = clip
        self._interrupts = interrupts
        self._began_s = 0.0
        self._arrivals: list[Arrival] = []
        self._asked_s: float | None = None
        self._interrupts_s: list[float] = []

    async def speak(self, animation: AsyncAnimation, *, paced: bool) -> None:
        chunks = list(self._clip.chunks(CHUNK_MS))
        due_s = spoken_at_s(len(chunks), CHUNK_MS / 1000)
        begin_s = time.monotonic() + due_s[0]
        try:
            for chunk, at_s in zip(chunks, due_s, strict=True):
                if paced:
                    await asyncio.sleep(begin_s + at_s - due_s[0] - time.monotonic())
                if not self._began_s:
                    self._began_s = time.monotonic()
                await animation.send(chunk)
            await animation.end_of_utterance()
            if not self._interrupts:
                await animation.end()
        except CallEndedError:
            # Why, the listener learns.
            pass

    async def listen(self, animation: AsyncAnimation) -> None:
        async for event in animation.events():
            now_s = time.monotonic()
            match event:
                case Frame(utterance_id=0):
                    self._arrivals.append(Arrival(now_s - self._began_s, event.pts_s))
                case Frame() if self._asked_s is None:
                    self._asked_s = now_s
                    await animation.interrupt()
                case UtteranceEvent(utterance_id=0, phase="ended") if self._interrupts:
                    await animation.send(speech(INTERRUPTED_S).data)
                case Interrupted():
                    assert self._asked_s is not None
                    self._interrupts_s.append(now_s - self._asked_s)
                    await self._again(animation)
                case _:
                    pass

    async def _again(self, animation: AsyncAnimation) -> None:
        self._asked_s = None
        if len(self._interrupts_s) < self._interrupts:
            await animation.send(speech(INTERRUPTED_S).data)
        else:
            await animation.end()

    def trace(self, animation: AsyncAnimation, lost: str) -> Trace:
        buffer_s = animation.started.windows.advised_buffer_s if self._arrivals else 0.0
        return Trace(
            self._clip.frame_count,
            tuple(self._arrivals),
            buffer_s,
            tuple(self._interrupts_s),
            lost,
        )


async def together(address: str, url: str, mode: str, count: int, plan: Plan) -> Run:
    """Lets equal streams begin at the same time."""
    clip = speech(max(plan.least_s, plan.total_s / count))
    paced = mode == "paced"
    words = {"paced": paced, "interrupts": INTERRUPTS if paced else 0}
    return await _run(
        url, mode, count, clip, [stream(address, clip, **words) for _ in range(count)]
    )


async def opening(address: str, url: str, rate_hz: float, seed: int, plan: Plan) -> Run:
    """Opens streams at random moments; each is paced."""
    clip = speech(plan.open_speech_s)

    async def later(at_s: float) -> Trace:
        await asyncio.sleep(at_s)
        return await stream(address, clip, paced=True)

    arrivals_s = poisson_arrivals_s(rate_hz, plan.open_s, seed)
    return await _run(url, "open", rate_hz, clip, [later(at_s) for at_s in arrivals_s])


async def _run(url: str, mode: str, load: float, clip: AudioClip, streams: list) -> Run:
    before, began_s = await asyncio.to_thread(spent, url), time.monotonic()
    traces = await asyncio.gather(*streams)
    wall_s, after = time.monotonic() - began_s, await asyncio.to_thread(spent, url)
    triton_s = after.executions_s - before.executions_s
    print(f"{mode}, {load:g}: {len(traces)} streams, {wall_s:.1f} s", flush=True)
    return Run(mode, load, clip.duration_s, traces, wall_s, triton_s)


@asynccontextmanager
async def gateway(repository: Path, folder: Path, *words: str) -> AsyncGenerator[tuple[str, str]]:
    """Gives the addresses of a gateway and of its Triton; ``words`` are for its command line."""
    installation = TritonInstallation.find(TRITON_VENV)
    async with start_triton(
        installation, repository, runtime_dir=folder, log_path=folder / "triton.log"
    ) as triton:
        words = ("--triton-url", triton.grpc_url, "--max-streams", MAX_STREAMS, *words)
        with ExitStack() as stack:
            running = running_gateway(repository, TRITON_VENV, folder / "gateway.log", *words)
            address = await asyncio.to_thread(stack.enter_context, running)
            try:
                yield address, triton.grpc_url
            finally:
                await asyncio.to_thread(stack.close)


def start_s(repository: Path, folder: Path) -> float:
    """Returns how long a gateway takes to serve with a Triton of its own."""
    began_s = time.monotonic()
    with running_gateway(repository, TRITON_VENV, folder / "start.log"):
        return time.monotonic() - began_s


async def idling(address: str, count: int) -> Idle:
    """Opens streams that say nothing."""
    process = gateway_process()
    clip = speech(1.0)
    before = process.memory_info().rss
    async with AsyncAvatarClient(address) as client, AsyncExitStack() as stack:
        portrait = PORTRAIT.read_bytes()
        for _ in range(count):
            animation = client.animate(portrait, None, clip.format, deadline_s=DEADLINE_S)
            await stack.enter_async_context(animation)
            await animation.wait_until_started()
        began_s, spent_s = time.monotonic(), sum(process.cpu_times()[:2])
        grown = process.memory_info().rss - before
        await asyncio.sleep(IDLE_S)
        cores = (sum(process.cpu_times()[:2]) - spent_s) / (time.monotonic() - began_s)
    return Idle(count, grown, cores)


def gateway_process() -> psutil.Process:
    """Returns the gateway that runs below this process."""
    children = psutil.Process().children(recursive=True)
    (found,) = (child for child in children if "server" in child.cmdline()[1:3])
    return found


async def measure(plan: Plan, repository: Path, folder: Path) -> Found:
    """Measures; logs go to a folder."""
    runs: list[Run] = []
    async with gateway(repository, folder) as (address, url):
        await stream(address, speech(plan.least_s), paced=False)
        for mode in ("saturating", "paced"):
            for count in plan.counts:
                runs.append(await together(address, url, mode, count, plan))
        for seed, rate_hz in enumerate(plan.rates_hz):
            runs.append(await opening(address, url, rate_hz, seed, plan))
        idle = await idling(address, plan.idle)
    starts_s = [await asyncio.to_thread(start_s, repository, folder) for _ in range(plan.starts)]
    return Found(runs, starts_s, idle)
