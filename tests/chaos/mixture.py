"""Streams of many kinds, one after the other: nothing may stay behind of any of them."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import numpy as np
import psutil
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc

from tests.chaos.history import Client
from tests.chaos.interrupts import INTERRUPT
from tests.support.serving import END, PAUSE, chunk, portrait, speech, start

RATE_HZ = 16_000
SAID = chunk(speech(RATE_HZ // 4).tobytes())
EVERY = 20
"""Streams from one reading to the next."""
MAX_SLOPE_BYTES = 8 * 2**20
"""Of memory, for 1,000 streams."""
MORE_DESCRIPTORS, MORE_THREADS = 4, 2


@dataclass(frozen=True)
class Reading:
    """What a gateway holds at a moment."""

    streams: int
    memory_bytes: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, process: psutil.Process, streams: int) -> "Reading":
        """Measures a gateway between two streams."""
        memory = process.memory_info().rss
        return cls(streams, memory, process.num_fds(), process.num_threads())


def plain(stub: pb_grpc.AvatarServiceStub) -> None:
    _whole(stub, start(), SAID, END)


def several_utterances(stub: pb_grpc.AvatarServiceStub) -> None:
    _whole(stub, start(), SAID, PAUSE, SAID, PAUSE, END)


def interrupted(stub: pb_grpc.AvatarServiceStub) -> None:
    _whole(stub, start(), SAID, SAID, SAID, INTERRUPT, SAID, END)


def compressed(stub: pb_grpc.AvatarServiceStub) -> None:
    _whole(stub, start(video_format=pb.VideoFormat(encoding=pb.FRAME_ENCODING_H264)), SAID, END)


def left(stub: pb_grpc.AvatarServiceStub) -> None:
    client = Client(stub)
    client.send(start(), SAID, SAID)
    client.wait_for_frames(1)
    client.cancel()
    client.finish()


def refused(stub: pb_grpc.AvatarServiceStub) -> None:
    _whole(stub, start(portrait=pb.Portrait(image=b"no picture")), END)


def rendered(stub: pb_grpc.AvatarServiceStub) -> None:
    request = pb.RenderRequest(
        portrait=pb.Portrait(image=portrait()),
        audio_format=start().start.audio_format,
        audio=SAID.audio.data,
    )
    for _ in stub.Render(request):
        pass


KINDS: list[Callable[[pb_grpc.AvatarServiceStub], None]] = [
    *(plain, several_utterances, interrupted, compressed, left, refused, rendered)
]


def mix(address: str, pid: int, streams: int) -> list[Reading]:
    """Streams of every kind, one after the other; returns what the gateway held meanwhile."""
    process = psutil.Process(pid)
    readings: list[Reading] = []
    with grpc.insecure_channel(address) as channel:
        stub = pb_grpc.AvatarServiceStub(channel)
        for number, kind in zip(range(streams), itertools.cycle(KINDS)):
            if number % EVERY == 0:
                readings.append(Reading.of(process, number))
            kind(stub)
    return [*readings, Reading.of(process, streams)]


def slope_bytes(readings: list[Reading]) -> float:
    """Returns by how much memory grows with 1,000 streams, from the second reading on."""
    streams = [reading.streams for reading in readings[1:]]
    memory = [reading.memory_bytes for reading in readings[1:]]
    return float(np.polyfit(streams, memory, 1)[0]) * 1000


def verdict(readings: list[Reading]) -> list[str]:
    """Returns what grows or has stayed behind, in lines for people."""
    problems = left_behind(readings)
    if (slope := slope_bytes(readings)) > MAX_SLOPE_BYTES:
        problems.append(f"memory grows by {slope / 2**20:.1f} MiB with 1,000 streams")
    return problems


def left_behind(readings: list[Reading]) -> list[str]:
    """Returns of what there is more than after the first streams, but for memory."""
    begin, end = readings[1], readings[-1]
    problems: list[str] = []
    if end.descriptors > begin.descriptors + MORE_DESCRIPTORS:
        problems.append(f"{begin.descriptors} descriptors have become {end.descriptors}")
    if end.threads > begin.threads + MORE_THREADS:
        problems.append(f"{begin.threads} threads have become {end.threads}")
    return problems


def _whole(stub: pb_grpc.AvatarServiceStub, *messages: pb.AnimateRequest) -> None:
    client = Client(stub)
    client.send(*messages)
    client.finish()
