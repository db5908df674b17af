"""Streams at once, each with a face and a voice of its own: no frame may be another's."""

import io
import itertools
import threading

import grpc
import numpy as np
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc
from numpy.typing import NDArray
from PIL import Image

from tests.chaos.history import Client, History, frames
from tests.chaos.model import violations
from tests.support.serving import END, chunk, portrait, start

RATE_HZ = 16_000
SPOKEN_S = 1.0
SITTERS = 8
SAME_LEVELS = 1
"""Merged batches add up in another order."""

Pictures = NDArray[np.int16]
"""Frames of a stream, [frames, bytes]."""


class OtherFrameError(Exception):
    """A frame is not that of its own face and voice."""


def messages(sitter: int) -> list[pb.AnimateRequest]:
    """Returns a stream of one of the sitters: a tint and clicks of its own."""
    tint = np.array([1.0 if sitter >> bit & 1 else 0.5 for bit in range(3)])
    plain = np.asarray(Image.open(io.BytesIO(portrait())))
    file = io.BytesIO()
    Image.fromarray((plain * tint).astype(np.uint8)).save(file, "PNG")
    said = np.zeros(round(SPOKEN_S * RATE_HZ), "<i2")
    said[:: 64 + 16 * sitter] = 8000
    face = pb.Portrait(image=file.getvalue())
    quick = pb.GenerationSettings(steps=1, audio_guidance=1)
    return [start(portrait=face, generation=quick), chunk(said.tobytes()), END]


def pictures(history: History) -> Pictures:
    """Returns the frames of a whole stream."""
    assert violations(history) == []
    data = [np.frombuffer(event.message.frame.data, np.uint8) for event in frames(history)]
    return np.array(data).astype(np.int16)


def difference(ours: Pictures, theirs: Pictures) -> int:
    """Returns by how many levels frames differ at most."""
    return int(np.abs(ours - theirs).max())


def isolate(address: str, at_once: int, least_frames: int) -> int:
    """Streams until so many frames have come and been compared; returns how many came.

    Raises:
        OtherFrameError: a frame is not its stream's own, or sitters cannot be told apart.
    """
    said = [messages(sitter) for sitter in range(SITTERS)]
    with grpc.insecure_channel(address) as channel:
        stub = pb_grpc.AvatarServiceStub(channel)

        def stream(sitter: int) -> Pictures:
            client = Client(stub)
            client.send(*said[sitter])
            return pictures(client.finish())

        alone = [stream(sitter) for sitter in range(SITTERS)]
        for one, other in itertools.combinations(range(SITTERS), 2):
            # Each frame against the one that comes at the same time.
            nearest = np.abs(alone[one] - alone[other]).max(axis=-1).min()
            if nearest <= SAME_LEVELS:
                raise OtherFrameError(f"sitters {one} and {other} cannot be told apart")
        return _crowd(stream, alone, at_once, least_frames)


def _crowd(stream, alone: list[Pictures], at_once: int, least_frames: int) -> int:
    turns = itertools.cycle(range(SITTERS))
    lock = threading.Lock()
    came = 0
    failed: list[Exception] = []

    def go_round() -> None:
        nonlocal came
        while came < least_frames and not failed:
            with lock:
                sitter = next(turns)
            try:
                found = stream(sitter)
                if difference(found, alone[sitter]) > SAME_LEVELS:
                    raise OtherFrameError(f"sitter {sitter} has a frame that is not its own")
            except Exception as error:
                failed.append(error)
                return
            with lock:
                came += len(found)

    threads = [threading.Thread(target=go_round) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return came
