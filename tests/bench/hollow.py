"""What the server takes itself: streams at public widths, on networks that compute nothing.

The gateway is in this process, its client and a real Triton in others. All of the speech is there
from the beginning, so every window begins as soon as the one before is made.
"""

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from client.demo.media import PORTRAIT
from echomimic_client.audio import AudioFormat
from echomimic_client.blocking import AvatarClient
from echomimic_client.choices import VideoFormat
from server import memory
from server.audio.clock import MODEL_RATE_HZ, MODEL_SAMPLES_PER_FRAME
from server.manifest import Manifest, read_manifest
from server.pictures.encoding import FrameEncoding, encode_picture
from server.pictures.portrait import cropped
from server.recorder import Recorder
from server.sessions.jobs import window_spec
from server.settings import Settings
from server.triton.client import TritonEngine
from server.triton.contract import Network
from server.triton.engine import Priority
from server.triton.halves import HalvingEngine
from server.triton.metering import MeteredEngine
from server.triton.regions import Lease
from server.triton.shared_memory import shared_memory
from tests.bench.spread import median
from tests.bench.triton import Spent, spent
from tests.support.hollow import hollow_triton
from tests.support.serving import portrait, served, speech

FRAMES = 33
SETTINGS = Settings.model_construct(window_ladder=(FRAMES,))
FRESH = FRAMES - window_spec(SETTINGS).overlap
"""Frames that a window adds to those before it."""
CARRIERS = {"auto": "shared memory", "off": "gRPC"}
"""Of tensors, by `--triton-shared-memory`."""
WARM_UP = 2
"""Windows at the beginning of a run that are not counted: nothing but the portrait is known of the
first, and memory of that size is new to everybody."""
QUALITY = 90
JPEGS = 30
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Plan:
    """What is measured: so many windows a run, at each size by the carriers of ``order``."""

    sides: tuple[int, ...] = (256, 512, 768)
    order: Sequence[str] = ("auto", "off", "off", "auto")
    windows: int = 30


QUICK = Plan(sides=(256,), order=("auto", "off"), windows=2)


@dataclass(frozen=True)
class Run:
    """What a stream came to. All but ``windows_s`` is of an average window after the warm-up."""

    side: int
    carrier: str
    windows_s: Sequence[float]
    """From the end of a window to that of the next."""
    stages_s: Mapping[str, float]
    executions_s: float
    """Between the gateway's asking for an execution and its answer."""
    triton_s: float
    """What Triton says of executions: from a request that has come to an answer that may go."""
    computed_s: float
    """Of that, in networks."""
    cpu_s: float
    """Of the gateway."""
    message_bytes: Mapping[str, float]
    """Requests and answers, by network."""
    shared_bytes: Mapping[str, float]
    """Written to shared memory and read there, by network."""
    step_bytes: float
    """Of messages and shared memory, in an execution of the denoiser."""
    jpeg_s: Mapping[str, float]
    """CPU time of encoding one picture alone: one of the run, and the demo's portrait."""


@dataclass(frozen=True)
class Totals:
    """What the gateway and Triton have come to at a moment; all of it only grows."""

    cpu_s: float
    executions_s: float
    triton: Spent
    sent: Counter[str]
    message_bytes: Counter[str]
    shared_bytes: Counter[str]


class CountingTriton(TritonEngine):
    """Counts what it carries, by network."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, timeout_s=TIMEOUT_S, **options)
        self.sent: Counter[str] = Counter()
        self.message_bytes: Counter[str] = Counter()
        self.shared_bytes: Counter[str] = Counter()
        self._constants: Lease | None = None

    async def infer(
        self,
        network: Network,
        request: bytes,
        leases: Sequence[Lease],
        priority: Priority,
        timeout_s: float | None,
    ) -> bytes:
        response = await super().infer(network, request, leases, priority, timeout_s)
        # Constants are written once, however often they are used.
        constants, *others = leases
        written = others if constants is self._constants else leases
        self._constants = constants
        spans = [place.span for lease in written for place in lease.places.values()]
        self.sent[network.name] += 1
        self.message_bytes[network.name] += len(request) + len(response)
        self.shared_bytes[network.name] += sum(span.stop - span.start for span in spans)
        return response


class Notes(Recorder):
    """Notes when windows end, and what all of it came to after the warm-up and in the end."""

    def __init__(self, url: str, triton: CountingTriton, windows: int) -> None:
        self.stages_s: list[Mapping[str, float]] = []
        self.windows_s: list[float] = []
        self.totals: list[Totals] = []
        self._noted = (WARM_UP, WARM_UP + windows)
        self._url = url
        self._triton = triton
        self._executions_s = 0.0
        self._ended_s = 0.0

    def execution_ended(self, endpoint: str, network: str, outcome: str, seconds: float) -> None:
        self._executions_s += seconds

    def window_ended(self, frames: int, stages_s: Mapping[str, float]) -> None:
        self.stages_s.append(stages_s)
        self.windows_s.append(time.monotonic() - self._ended_s)
        if len(self.windows_s) in self._noted:
            # Nothing runs on Triton between two windows.
            self.totals.append(self._now())
        self._ended_s = time.monotonic()

    def _now(self) -> Totals:
        triton = self._triton
        counted = (triton.sent, triton.message_bytes, triton.shared_bytes)
        return Totals(
            time.process_time(), self._executions_s, spent(self._url), *map(Counter, counted)
        )


def watch(address: str, side: int, samples: int) -> None:
    """Takes every frame of a stream."""
    audio = AudioFormat("s16le", MODEL_RATE_HZ, 1)
    video = VideoFormat("jpeg", width=side, height=side)
    said = [speech(samples).tobytes()]
    with AvatarClient(address) as client:
        frames = sum(1 for _ in client.animate(portrait(side), said, audio, video=video))
    assert frames == samples // MODEL_SAMPLES_PER_FRAME, f"{frames} frames came"


async def run(url: str, folder: Path, offer: Manifest, side: int, use: str, windows: int) -> Run:
    """Streams so many windows after the warm-up, through a gateway of its own."""
    async with AsyncExitStack() as stack:
        limit_bytes = SETTINGS.triton_shared_memory_bytes
        shared = stack.enter_context(shared_memory(use, url, limit_bytes))
        triton = CountingTriton(url, shared_memory=shared)
        stack.push_async_callback(triton.close)
        notes = Notes(url, triton, windows)
        halves = HalvingEngine(triton, offer.precisions)
        engine = MeteredEngine(halves, ended=lambda *ended: notes.execution_ended(url, *ended))
        gateway = await stack.enter_async_context(
            served(engine, folder, SETTINGS, offer=offer, recorder=notes)
        )
        # One more, so that the last one counted is like the others.
        frames = FRAMES + FRESH * (WARM_UP + windows)
        words = (gateway.address, side, frames * MODEL_SAMPLES_PER_FRAME)
        client = multiprocessing.get_context("spawn").Process(target=watch, args=words)
        await asyncio.to_thread(client.start)
        await asyncio.to_thread(client.join)
        assert client.exitcode == 0
    return summary(notes, side, use, windows)


def summary(notes: Notes, side: int, use: str, windows: int) -> Run:
    counted = slice(WARM_UP, WARM_UP + windows)
    before, after = notes.totals
    stages = notes.stages_s[counted]
    messages = after.message_bytes - before.message_bytes
    in_memory = after.shared_bytes - before.shared_bytes
    steps = (after.sent - before.sent)["denoiser"]
    return Run(
        side=side,
        carrier=use,
        windows_s=notes.windows_s[counted],
        stages_s={name: median([stage[name] for stage in stages]) for name in stages[0]},
        executions_s=(after.executions_s - before.executions_s) / windows,
        triton_s=(after.triton.executions_s - before.triton.executions_s) / windows,
        computed_s=(after.triton.computed_s - before.triton.computed_s) / windows,
        cpu_s=(after.cpu_s - before.cpu_s) / windows,
        message_bytes={name: count / windows for name, count in messages.items()},
        shared_bytes={name: count / windows for name, count in in_memory.items()},
        step_bytes=(messages["denoiser"] + in_memory["denoiser"]) / steps,
        jpeg_s={name: jpeg_s(picture) for name, picture in pictures(side).items()},
    )


def pictures(side: int) -> Mapping[str, Any]:
    """Returns what is encoded alone: a picture of hollow networks, and a real one."""
    with Image.open(PORTRAIT) as image:
        real, _ = cropped(image.convert("RGB"), side, side)
    return {"black": np.zeros_like(real), "portrait": real}


def jpeg_s(picture: Any) -> float:
    """Returns the CPU time of one encoding."""
    spent: list[float] = []
    for _ in range(JPEGS):
        began_s = time.process_time()
        encode_picture(picture, FrameEncoding.JPEG, QUALITY)
        spent.append(time.process_time() - began_s)
    return median(spent)


async def measure(plan: Plan, folder: Path) -> list[Run]:
    """Measures; writes a repository and logs to a folder."""
    # As the program of the gateway begins.
    memory.keep_small()
    found: list[Run] = []
    async with hollow_triton(folder / "hollow", plan.sides) as triton:
        offer = read_manifest(folder / "hollow")
        for side in plan.sides:
            for use in plan.order:
                found.append(await run(triton.grpc_url, folder, offer, side, use, plan.windows))
                wall_s = median(found[-1].windows_s)
                print(
                    f"hollow, {side}x{side}, {CARRIERS[use]}: {wall_s:.3f} s a window", flush=True
                )
    return found
