"""One long live stream, then many of every kind, then many at once: nothing may change or mix.

Memory, cost and frames must not change over the length of a stream, nothing may stay behind of the
many, and of those at once no frame may be another's.

python -m tests.soak REPOSITORY --minutes 30 --streams 1000 --frames 100000
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from client.demo.gateway_process import running_gateway
from echomimic_client.audio import AudioFormat
from echomimic_client.blocking import AvatarClient
from echomimic_client.choices import GenerationSettings, VideoFormat
from echomimic_client.progress import frame_bar
from server.audio.clock import FRAME_RATE
from tests.chaos import mixture
from tests.chaos.isolation import OtherFrameError, isolate
from tests.support.serving import portrait

RATE_HZ = 16_000
CHUNK_S = 0.5
LOOKS, LOOK_S = 12, 0.25
AT_ONCE = 4
SPAN = 5
"""Minutes at either end that are compared."""
MAX_GROWTH_BYTES = 8 * 2**20
MAX_COST_CHANGE = 0.05
TRITON_VENV = Path(".venv/triton")
LOG = Path("build/soak.log")


@dataclass(frozen=True)
class Reading:
    """What the gateway and its Triton have come to at a moment: bytes, and seconds of CPU."""

    gateway_bytes: int
    triton_bytes: int
    cpu_s: float


def babble(seconds: float) -> Iterator[bytes]:
    """Yields speech-like noise, s16le: syllables, four a second, and a pause now and then."""
    random = np.random.default_rng(0)
    samples = int(RATE_HZ * CHUNK_S)
    for start in range(0, int(RATE_HZ * seconds), samples):
        time_s = (start + np.arange(samples)) / RATE_HZ
        envelope = np.maximum(0, np.sin(2 * np.pi * 4 * time_s)) * (np.sin(time_s) > -0.7)
        noise = random.standard_normal(samples) * envelope * 3000
        yield noise.astype("<i2").tobytes()


def read() -> Reading:
    """Measures the processes below this one."""
    found = psutil.Process().children(recursive=True)
    gateways = _gateways(found)
    tritons = [p for p in found if p not in gateways]
    times = [process.cpu_times() for process in found]
    return Reading(
        gateway_bytes=_memory(gateways),
        triton_bytes=_memory(tritons),
        cpu_s=sum(time.user + time.system for time in times),
    )


def _gateways(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if "server" in process.cmdline()[1:3]]


def _memory(processes: Iterable[psutil.Process]) -> int:
    """Sums the memory of processes at rest; what several of them share counts once.

    Nobody reads frames meanwhile, so the stream soon comes to a stand. The least of a few looks is
    then what is held without a window at work.
    """
    processes = list(processes)
    looks: list[int] = []
    for _ in range(LOOKS):
        looks.append(sum(process.memory_full_info().pss for process in processes))
        time.sleep(LOOK_S)
    return min(looks)


def stream(address: str, minutes: int) -> tuple[list[Reading], int]:
    """Streams; returns a reading at every minute of video, the first when it begins, and frames."""
    readings: list[Reading] = []
    frames = 0
    total = minutes * 60 * FRAME_RATE
    with AvatarClient(address) as client, frame_bar(total) as show:
        animation = client.animate(
            portrait(),
            babble(minutes * 60),
            AudioFormat("s16le", RATE_HZ, 1),
            video=VideoFormat("jpeg"),
            generation=GenerationSettings(steps=1, audio_guidance=1),
        )
        for frame in animation:
            if frame.index % (60 * FRAME_RATE) == 0:
                readings.append(read())
            frames += 1
            show(frames)
    return [*readings, read()], frames


def verdict(readings: list[Reading], frames: int, minutes: int) -> list[str]:
    """Returns what went wrong, in lines for people."""
    problems: list[str] = []
    if frames != minutes * 60 * FRAME_RATE:
        problems.append(f"{frames} frames for {minutes} minutes of speech")
    for name in ("gateway_bytes", "triton_bytes"):
        growth = _change([getattr(reading, name) for reading in readings[1:]])
        if growth > MAX_GROWTH_BYTES:
            problems.append(f"{name} grew by {growth / 2**20:.1f} MiB after the first minutes")
    costs = [after.cpu_s - before.cpu_s for before, after in itertools.pairwise(readings)]
    change = _change(costs) / statistics.median(costs[:SPAN])
    if abs(change) > MAX_COST_CHANGE:
        problems.append(f"the last minutes cost {change:+.1%} of CPU against the first")
    return problems


def many(address: str, streams: int) -> list[str]:
    """Streams many of every kind; returns what has stayed behind."""
    (gateway,) = _gateways(psutil.Process().children())
    readings = mixture.mix(address, gateway.pid, streams)
    for reading in readings:
        print(reading)
    print(f"{mixture.slope_bytes(readings) / 2**20:+.1f} MiB for 1,000 streams")
    return mixture.verdict(readings)


def at_once(address: str, frames: int) -> list[str]:
    """Streams several at once; returns which of them got a frame of another."""
    try:
        print(f"{isolate(address, AT_ONCE, frames)} frames at once, each its own")
    except OtherFrameError as error:
        return [str(error)]
    return []


def _change(values: Sequence[float]) -> float:
    """Returns how far the last values are from the first; medians, since single ones vary."""
    return statistics.median(values[-SPAN:]) - statistics.median(values[:SPAN])


def main() -> int:
    """Runs it; returns 1 if something grew, slowed down or was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=100_000)
    options = parser.parse_args()
    with running_gateway(options.repository, TRITON_VENV, LOG) as address:
        readings, frames = stream(address, options.minutes)
        left = many(address, options.streams)
        mixed = at_once(address, options.frames)
    print("minute  gateway MiB  Triton MiB  CPU s")
    for minute, (before, after) in enumerate(itertools.pairwise(readings), start=1):
        print(
            f"{minute:6}  {after.gateway_bytes / 2**20:11.1f}  {after.triton_bytes / 2**20:10.1f}"
            f"  {after.cpu_s - before.cpu_s:5.1f}"
        )
    problems = verdict(readings, frames, options.minutes) + left + mixed
    print("\n".join(problems) or f"{frames} frames; nothing grew, nothing slowed down")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
