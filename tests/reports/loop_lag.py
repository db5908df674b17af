"""How long the gateway's event loop is held up while it streams at the sizes of the public models.

python -m tests.reports.loop_lag
"""

import asyncio
import multiprocessing
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from echomimic_client.audio import AudioFormat
from echomimic_client.blocking import AvatarClient
from echomimic_client.choices import VideoFormat
from server.loop_lag import INTERVAL_S, LONG_S, LoopLag
from server.manifest import read_manifest
from server.settings import Settings
from server.triton.client import TritonEngine
from server.triton.halves import HalvingEngine
from server.triton.shared_memory import shared_memory
from tests.reports import markdown
from tests.support.hollow import hollow_triton
from tests.support.serving import portrait, served, speech

REPOSITORY = "hollow"
SIDES = (512, 768)
STREAMS = (1, 4)
CARRIERS = {"auto": "shared memory", "off": "gRPC"}
"""Of tensors, by `--triton-shared-memory`."""
SECONDS = 10
IDLE_S = 10
RATE_HZ = 16_000
FRAMES = 25 * SECONDS


def watch_a_stream(address: str, side: int) -> None:
    """Takes every frame of a stream whose speech is there from the beginning."""
    audio = AudioFormat("s16le", RATE_HZ, 1)
    said = speech(SECONDS * RATE_HZ).tobytes()
    video = VideoFormat("jpeg", width=side, height=side)
    with AvatarClient(address) as client:
        frames = sum(1 for _ in client.animate(portrait(side), [said], audio, video=video))
    assert frames == FRAMES, f"{frames} frames of {FRAMES}"


@asynccontextmanager
async def gateway(url: str, folder: Path, use: str) -> AsyncGenerator[str]:
    """A gateway in this process, in front of a Triton that computes nothing."""
    settings = Settings.model_construct(window_ladder=(17, 33))
    offer = read_manifest(folder / REPOSITORY)
    with shared_memory(use, url, settings.triton_shared_memory_bytes) as shared:
        triton = TritonEngine(url, timeout_s=120, shared_memory=shared)
        engine = HalvingEngine(triton, offer.precisions)
        async with served(engine, folder, settings, offer=offer) as running:
            yield running.address
        await triton.close()


@asynccontextmanager
async def lags() -> AsyncGenerator[list[float]]:
    """Collects how long the event loop is held up, in seconds."""
    observed: list[float] = []
    watching = asyncio.create_task(LoopLag(observed.append).run())
    try:
        yield observed
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def while_streaming(address: str, side: int, streams: int) -> tuple[list[float], float]:
    """Returns the lags and the seconds that the streams took."""
    context = multiprocessing.get_context("spawn")
    clients = [context.Process(target=watch_a_stream, args=(address, side)) for _ in range(streams)]
    now = asyncio.get_running_loop().time
    begin_s = now()
    async with lags() as observed:
        for client in clients:
            await asyncio.to_thread(client.start)
        for client in clients:
            await asyncio.to_thread(client.join)
    assert all(client.exitcode == 0 for client in clients)
    return observed, now() - begin_s


def row(size: str, streams: int, carrier: str, lags_s: list[float], rate: str) -> tuple[str, ...]:
    p50, p99, most = (f"{1000 * np.percentile(lags_s, q):.1f}" for q in (50, 99, 100))
    return (size, str(streams), carrier, rate, p50, p99, most)


async def measure(folder: Path) -> list[tuple[str, ...]]:
    async with hollow_triton(folder / REPOSITORY, SIDES) as triton:
        return await rows_of(triton.grpc_url, folder)


async def rows_of(url: str, folder: Path) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for use, carrier in CARRIERS.items():
        async with gateway(url, folder, use) as address:
            async with lags() as idle:
                await asyncio.sleep(IDLE_S)
            rows.append(row("", 0, carrier, idle, "0"))
            for side in SIDES:
                for streams in STREAMS:
                    found, took_s = await while_streaming(address, side, streams)
                    rate = f"{streams * FRAMES / took_s:.0f}"
                    rows.append(row(f"{side}x{side}", streams, carrier, found, rate))
                    print(rows[-1], flush=True)
    return rows


EXPLANATION = f"""The gateway has one event loop, and while something holds it every stream waits.
So whatever takes long is done in threads: tensors to bytes, samplers, pictures and their encoding.
In every gateway `server/loop_lag.py` sleeps {1000 * INTERVAL_S:g} ms again and again, compares, and
warns of what is held up for more than {1000 * LONG_S:g} ms.

What gRPC carries it copies on the event loop, when a message is sent and when it has come, and
holds Python's lock: with large windows that was where the loop was found whenever it was held up
for long. So a Triton on the same host shares memory with the gateway
([configuration.md](configuration.md#shared-memory)), and one elsewhere makes it lag as in the rows
of gRPC."""

CONDITIONS = f"""Measured on two cores, on which the clients and a Triton whose networks compute
nothing (`python -m export make-hollow`) ran too: a gateway at the widths of the public flash model
in 16 bits, {SECONDS} s of speech a stream sent at once, with windows of 17 and 33 frames, 8 steps
of two rows, and JPEG. Nothing waits for a network, so this is the most that the gateway can be made
to do; the frames a second are those of all streams together, the start of their clients counted.
Waiting for Python's lock and for a turn on one of the cores is in the numbers."""


def main() -> None:
    with TemporaryDirectory() as folder:
        rows = asyncio.run(measure(Path(folder)))
    header = ("size", "streams", "carrier", "frames a second", "p50, ms", "p99, ms", "most, ms")
    title = "How long the event loop is held up"
    table = markdown.table(header, rows)
    markdown.write_measured("loop-lag.md", "loop_lag", title, EXPLANATION, CONDITIONS, table)


if __name__ == "__main__":
    main()
