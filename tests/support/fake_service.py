"""A server of the contract without a model: frame n is a picture of one colour that tells n.

Run as a program it takes the gateway's place: `python -m tests.support.fake_service --port 50051`.
"""

import io
import signal
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2_grpc
from grpc_status import rpc_status
from PIL import Image

SIZE = (96, 64)
MP4 = bytes(range(256)) * 40
SAMPLE_BYTES = {pb.AUDIO_ENCODING_PCM_S16LE: 2, pb.AUDIO_ENCODING_PCM_F32LE: 4}
GENERATION = pb.GenerationSettings(
    prompt="a portrait",
    steps=8,
    audio_guidance=2.5,
    sampler=pb.SAMPLER_FLOW_UNIPC,
    shift=5,
    seed=43,
)
WINDOWS = pb.WindowSettings(
    first_window_frames=17,
    window_frames=33,
    overlap_frames=5,
    audio_lookahead=duration_pb2.Duration(nanos=200_000_000),
    audio_left_context=duration_pb2.Duration(seconds=2),
)
LIMITS = pb.Limits(
    max_message_bytes=1 << 27, max_stream_audio=duration_pb2.Duration(seconds=14_400), max_steps=50
)


def colour(index: int) -> tuple[int, int, int]:
    return (40 + index % 160, 90, 200 - index % 160)


def refusal(code: grpc.StatusCode, message: str, *details: Message) -> status_pb2.Status:
    """A status as servers of the contract send it."""
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


FIELD_REFUSED = refusal(
    grpc.StatusCode.INVALID_ARGUMENT,
    "start.video_format.width: 5x5 is not offered",
    error_details_pb2.ErrorInfo(
        reason="INVALID_FIELD", domain="echomimic.v1", metadata={"field": "x"}
    ),
    error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field="start.video_format.width")
        ]
    ),
)
SERVER_FULL = refusal(
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    "all 4 streams are taken",
    error_details_pb2.ErrorInfo(reason="NO_FREE_STREAM", domain="echomimic.v1"),
    error_details_pb2.QuotaFailure(),
    error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000)),
)


@dataclass
class FakeService(pb_grpc.AvatarServiceServicer):
    """Answers frames while audio comes in; keeps what the last call sent."""

    refuse: status_pb2.Status | None = None
    refuse_after_chunks: int = 0
    start: pb.Start = field(default_factory=pb.Start)
    chunks: list[bytes] = field(default_factory=list)
    ended: bool = False
    render: pb.RenderRequest = field(default_factory=pb.RenderRequest)

    def Animate(  # noqa: N802
        self, request_iterator: Iterable[pb.AnimateRequest], context: Any
    ) -> Iterator[pb.AnimateResponse]:
        requests = iter(request_iterator)
        self.start, self.chunks, self.ended = next(requests).start, [], False
        video = pb.VideoFormat(
            encoding=self.start.video_format.encoding or pb.FRAME_ENCODING_JPEG,
            width=SIZE[0],
            height=SIZE[1],
            jpeg_quality=90,
            frames_per_second=25,
        )
        self._maybe_refuse(context)
        yield pb.AnimateResponse(started=self._started(self.start, video))
        warning = pb.Warning(reason="PORTRAIT_SMALL", message="the portrait is small")
        yield pb.AnimateResponse(warning=warning)
        frames = 0
        for request in requests:
            if request.WhichOneof("message") == "end":
                self.ended = True
                break
            self.chunks.append(request.audio.data)
            self._maybe_refuse(context)
            while frames < self._samples * 25 // self.start.audio_format.sample_rate_hz:
                yield pb.AnimateResponse(frame=self._frame(frames, video))
                frames += 1
        while frames * self.start.audio_format.sample_rate_hz < self._samples * 25:
            yield pb.AnimateResponse(frame=self._frame(frames, video))
            frames += 1
        yield pb.AnimateResponse(summary=self._summary(frames))

    def Render(  # noqa: N802
        self, request: pb.RenderRequest, context: Any
    ) -> Iterator[pb.RenderResponse]:
        self.render = request
        self._maybe_refuse(context)
        video = pb.VideoFormat(encoding=pb.FRAME_ENCODING_JPEG, frames_per_second=25)
        yield pb.RenderResponse(started=self._started(request, video))
        yield pb.RenderResponse(progress=pb.Progress(frames=1, total_frames=2))
        yield pb.RenderResponse(mp4_chunk=pb.Mp4Chunk(data=MP4[:1000]))
        yield pb.RenderResponse(mp4_chunk=pb.Mp4Chunk(data=MP4[1000:]))
        yield pb.RenderResponse(summary=self._summary(2))

    def GetServerInfo(  # noqa: N802
        self, request: pb.GetServerInfoRequest, context: Any
    ) -> pb.GetServerInfoResponse:
        self._maybe_refuse(context)
        return pb.GetServerInfoResponse(
            version="0.1.0",
            variant="flash",
            models=[pb.Model(name="denoiser", backend="onnxruntime", precision="fp32")],
            sizes=[pb.Size(width=SIZE[0], height=SIZE[1])],
            frame_encodings=[pb.FRAME_ENCODING_PNG, pb.FRAME_ENCODING_WEBP],
            samplers=[pb.SAMPLER_FLOW_EULER],
            default_generation=GENERATION,
            windows=WINDOWS,
            limits=LIMITS,
        )

    @property
    def _samples(self) -> int:
        audio = self.start.audio_format
        return sum(map(len, self.chunks)) // (SAMPLE_BYTES[audio.encoding] * audio.channels)

    def _maybe_refuse(self, context: Any) -> None:
        if self.refuse is not None and len(self.chunks) >= self.refuse_after_chunks:
            context.abort_with_status(rpc_status.to_status(self.refuse))

    def _started(self, request: pb.Start | pb.RenderRequest, video: pb.VideoFormat) -> pb.Started:
        return pb.Started(
            request_id="r1",
            client_session_id=request.client_session_id,
            audio_format=request.audio_format,
            video_format=video,
            generation=GENERATION,
            windows=WINDOWS,
            limits=LIMITS,
        )

    def _frame(self, index: int, video: pb.VideoFormat) -> pb.Frame:
        picture = np.full((SIZE[1], SIZE[0], 3), colour(index), np.uint8)
        return pb.Frame(
            index=index,
            presentation_time=duration_pb2.Duration(
                seconds=index // 25, nanos=index % 25 * 40_000_000
            ),
            first_audio_sample=index * self.start.audio_format.sample_rate_hz // 25,
            kind=pb.FRAME_KIND_SPEECH,
            encoding=video.encoding,
            width=video.width,
            height=video.height,
            data=_encode(picture, video.encoding),
        )

    def _summary(self, frames: int) -> pb.Summary:
        latency = duration_pb2.Duration(nanos=250_000_000)
        return pb.Summary(frames=frames, first_frame_latency=latency, realtime_factor=1.25)


def _encode(picture: np.ndarray, encoding: pb.FrameEncoding) -> bytes:
    if encoding == pb.FRAME_ENCODING_RGB:
        return picture.tobytes()
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG" if encoding == pb.FRAME_ENCODING_PNG else "JPEG")
    return file.getvalue()


@contextmanager
def served(service: FakeService, port: int = 0) -> Iterator[str]:
    """Serves, on a free port unless one is given; gives the address."""
    server = grpc.server(ThreadPoolExecutor(4))
    pb_grpc.add_AvatarServiceServicer_to_server(service, server)
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with served(FakeService(), int(sys.argv[sys.argv.index("--port") + 1])):
        print(*sys.argv[1:], flush=True)
        signal.sigwait({signal.SIGTERM})
        print("stopped")
