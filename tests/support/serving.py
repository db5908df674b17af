"""Runs the gateway on a free port, over real gRPC, with any engine."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc
import numpy as np
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc
from google.rpc import error_details_pb2
from grpc_health.v1._async import HealthServicer
from grpc_status import rpc_status
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from server.access.access import Access
from server.animation.tokens import PromptTokenizer
from server.api.kserve.service import InferenceService
from server.api.listener import make_server
from server.api.service import AvatarService
from server.manifest import Manifest, NetworkEntry
from server.recorder import SILENT, Recorder
from server.sessions.gateway import Gateway
from server.sessions.jobs import Offer
from server.settings import Settings
from server.spans import UNTRACED, Tracer
from server.triton.contract import LIGHT_DECODER, PORTRAIT_NETWORKS, Variant, fingerprint
from server.triton.engine import Engine

SIZE = 64


def portrait(side: int = 512, kind: str = "PNG", width: int | None = None) -> bytes:
    """A portrait file: a smooth colour gradient."""
    down, across = (np.linspace(0, 255, n, dtype=np.uint8) for n in (side, width or side))
    picture = np.stack(np.broadcast_arrays(down[:, None], across[None, :], np.uint8(90)), axis=-1)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return file.getvalue()


def speech(samples: int, rate: int = 16_000, seed: int = 0) -> NDArray[np.int16]:
    """Noise with a slow envelope, s16."""
    noise = np.random.default_rng(seed).standard_normal(samples)
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 2 * np.arange(samples) / rate)
    return (noise * envelope * 3000).astype("<i2")


def manifest(
    variant: Variant = "flash",
    *,
    meshes: bool = False,
    light_decoder: bool = False,
    sizes: tuple[tuple[int, int], ...] = ((SIZE, SIZE), (96, SIZE)),
) -> Manifest:
    light = (LIGHT_DECODER.name,) if light_decoder else ()
    names = ("denoiser", *(PORTRAIT_NETWORKS if meshes else ()), *light)
    return Manifest(
        variant=variant,
        contract=fingerprint(variant),
        checkpoint_digest="test",
        networks=dict.fromkeys(names, NetworkEntry(backend="fake", precision="fp32")),
        sizes=sizes,
        tool_versions={},
    )


def tokenizer(folder: Path) -> PromptTokenizer:
    path = folder / "tokenizer.json"
    vocabulary = {"<pad>": 0, "<unk>": 1, "portrait": 2, "cinematic": 3}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    words.save(str(path))
    return PromptTokenizer(path)


def small_windows(**changes: Any) -> Settings:
    """Settings for tests: windows of 5 and 9 frames, overlap 2, everything else as shipped.

    Only that windows are told frames as they were shown, so that tests know them again.
    """
    settings = {
        "window_ladder": (5, 9),
        "overlap_frames": 2,
        "audio_lookahead_frames": 2,
        "audio_left_context_frames": 5,
        "drift_levels": 0,
        "steps": 2,
    }
    return Settings(_env_file=None, **settings | changes)  # pyright: ignore[reportCallIssue]


@dataclass(frozen=True)
class Served:
    stub: pb_grpc.AvatarServiceStub
    gateway: Gateway
    address: str


@asynccontextmanager
async def served(
    engine: Engine,
    folder: Path,
    settings: Settings,
    variant: Variant = "flash",
    *,
    offer: Manifest | None = None,
    encoded: Mapping[str, NDArray[np.float32]] = MappingProxyType({}),
    recorder: Recorder = SILENT,
    default_portrait: bytes | None = None,
    access: Access | None = None,
    tracer: Tracer = UNTRACED,
) -> AsyncIterator[Served]:
    """A running gateway, which speaks KServe too, and a client's stub for it."""
    described = manifest(variant) if offer is None else offer
    gateway = Gateway(
        Offer(settings, described), engine, tokenizer(folder), encoded, recorder, access, tracer
    )
    services = [AvatarService(gateway), InferenceService(gateway, lambda: True, default_portrait)]
    server = make_server(settings, services, HealthServicer())
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    try:
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            yield Served(pb_grpc.AvatarServiceStub(channel), gateway, address)
    finally:
        await server.stop(0)


def start(rate: int = 16_000, **changes: Any) -> pb.AnimateRequest:
    """A `start` message that asks for raw frames."""
    fields: dict[str, Any] = {
        "portrait": pb.Portrait(image=portrait()),
        "audio_format": pb.AudioFormat(
            encoding=pb.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=rate, channels=1
        ),
        "video_format": pb.VideoFormat(encoding=pb.FRAME_ENCODING_RGB),
    }
    return pb.AnimateRequest(start=pb.Start(**fields | changes))


def chunk(data: bytes) -> pb.AnimateRequest:
    return pb.AnimateRequest(audio=pb.AudioChunk(data=data))


PAUSE = pb.AnimateRequest(end_of_utterance=pb.EndOfUtterance())
END = pb.AnimateRequest(end=pb.End())


def said(samples: NDArray[np.int16], chunk_sizes: Iterable[int] = ()) -> list[pb.AnimateRequest]:
    """Audio messages with the given numbers of samples, what is left in one more, and `end`."""
    messages: list[pb.AnimateRequest] = []
    position = 0
    for size in (*chunk_sizes, len(samples)):
        if piece := samples[position : position + size].tobytes():
            messages.append(chunk(piece))
        position += size
    return [*messages, END]


async def animate(
    served: Served,
    messages: Iterable[pb.AnimateRequest],
    *,
    waits_s: Iterable[float] = (),
    timeout_s: float | None = None,
) -> list[pb.AnimateResponse]:
    """Sends all messages, half-closes and returns all answers; raises the call's own status.

    ``waits_s`` tells how long to wait before each message; the last ones go out at once.
    """
    call = served.stub.Animate(timeout=timeout_s)
    writing = write_all(call, messages, waits_s)
    try:
        return [answer async for answer in call]
    finally:
        await asyncio.wait([writing])


def write_all(
    call: Any, messages: Iterable[pb.AnimateRequest], waits_s: Iterable[float] = ()
) -> asyncio.Task[None]:
    """Sends all messages and half-closes, in a task that ends with the call at the latest.

    A write that fails since the call has ended, or a request iterator's, puts INTERNAL in place of
    the call's own status, in grpc.aio.
    """
    writing = asyncio.create_task(_write(call, messages, waits_s))
    call.add_done_callback(lambda _: writing.cancel())
    return writing


async def _write(
    call: Any, messages: Iterable[pb.AnimateRequest], waits_s: Iterable[float]
) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        waits = iter(waits_s)
        for message in messages:
            await asyncio.sleep(next(waits, 0.0))
            await call.write(message)
        await call.done_writing()


def frames(answers: Iterable[pb.AnimateResponse]) -> list[pb.Frame]:
    return [answer.frame for answer in answers if answer.WhichOneof("message") == "frame"]


@dataclass(frozen=True)
class Refusal:
    code: grpc.StatusCode
    reason: str
    field: str
    text: str


def refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """Reads a status; there must be exactly one ErrorInfo in it."""
    status = rpc_status.from_call(error)  # pyright: ignore[reportArgumentType]
    assert status is not None
    infos: list[error_details_pb2.ErrorInfo] = []
    field = ""
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            infos.append(error_details_pb2.ErrorInfo())
            detail.Unpack(infos[-1])
        if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            field = bad.field_violations[0].field
    (info,) = infos
    assert info.domain == "echomimic.v1"
    return Refusal(error.code(), info.reason, field, status.message)


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Waits for what happens soon; fails if it does not."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.01)
