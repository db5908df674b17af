"""A server of the contract without a model: frame n is a picture of one colour that tells n.

Run as a program it takes the gateway's place: `python -m tests.support.fake_service --port 50051`.
"""

import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2_grpc
from grpc_status import rpc_status

from tests.support.fake_speech import SIZE, FakeSpeech, summary

IDLE_FRAMES = 5
"""Sent first where any are asked for."""
MP4 = bytes(range(256)) * 40
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
    ladder=[17, 33],
)
LIMITS = pb.Limits(
    max_message_bytes=1 << 27, max_stream_audio=duration_pb2.Duration(seconds=14_400), max_steps=50
)


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
    heard: list[str] = field(default_factory=list)
    """The kinds of the messages after `start`."""
    metadata: dict[str, Any] = field(default_factory=dict)
    deadline_s: float | None = None
    ended: bool = False
    stalls_after_chunks: int | None = None
    """After so many it answers nothing more until the call has ended."""
    render: pb.RenderRequest = field(default_factory=pb.RenderRequest)

    def Animate(  # noqa: N802
        self, request_iterator: Iterable[pb.AnimateRequest], context: Any
    ) -> Iterator[pb.AnimateResponse]:
        requests = iter(request_iterator)
        self.start, self.chunks, self.heard, self.ended = next(requests).start, [], [], False
        self._note(context)
        video = self._video(self.start.video_format)
        self._maybe_refuse(context)
        yield pb.AnimateResponse(started=self._started(self.start, video))
        warning = pb.Warning(reason="PORTRAIT_SMALL", message="the portrait is small")
        yield pb.AnimateResponse(warning=warning)
        speech = FakeSpeech(self.start.audio_format, video)
        if self.start.idle_mode in (pb.IDLE_MODE_WARP, pb.IDLE_MODE_MODEL):
            yield from speech.idle(IDLE_FRAMES)
        for request in requests:
            kind = request.WhichOneof("message")
            self.heard.append(kind or "")
            if kind == "end":
                self.ended = True
                break
            if kind == "end_of_utterance":
                yield from speech.ended()
            elif kind == "interrupt":
                yield speech.interrupted()
            elif kind == "update":
                yield self._updated(request.update, speech)
            else:
                if len(self.chunks) == self.stalls_after_chunks:
                    _until_ended(context)
                    return
                self.chunks.append(request.audio.data)
                self._maybe_refuse(context)
                yield from speech.said(request.audio.data)
        yield from speech.ended()
        yield pb.AnimateResponse(summary=summary(speech.frames))

    def Render(  # noqa: N802
        self, request: pb.RenderRequest, context: Any
    ) -> Iterator[pb.RenderResponse]:
        self.render = request
        self._maybe_refuse(context)
        self._note(context)
        video = pb.VideoFormat(encoding=pb.FRAME_ENCODING_JPEG, frames_per_second=25)
        yield pb.RenderResponse(started=self._started(request, video))
        if request.output == pb.RENDER_OUTPUT_FRAMES:
            speech = FakeSpeech(request.audio_format, self._video(request.video_format))
            spoken = [*speech.said(request.audio), *speech.ended()]
            frames = [answer.frame for answer in spoken if answer.HasField("frame")]
            yield from (pb.RenderResponse(frame=frame) for frame in frames)
            yield pb.RenderResponse(summary=summary(len(frames)))
            return
        yield pb.RenderResponse(progress=pb.Progress(frames=1, total_frames=2))
        for piece in (MP4[:1000], MP4[1000:]):
            if request.output in (pb.RENDER_OUTPUT_WEBM, pb.RENDER_OUTPUT_GIF):
                yield pb.RenderResponse(file_chunk=pb.FileChunk(data=piece))
            else:
                yield pb.RenderResponse(mp4_chunk=pb.Mp4Chunk(data=piece))
        yield pb.RenderResponse(summary=summary(2))

    def GetServerInfo(  # noqa: N802
        self, request: pb.GetServerInfoRequest, context: Any
    ) -> pb.GetServerInfoResponse:
        self._maybe_refuse(context)
        return pb.GetServerInfoResponse(
            version="0.1.0",
            variant="flash",
            models=[pb.Model(name="denoiser", backend="onnxruntime", precision="fp32")],
            sizes=[pb.Size(width=SIZE[0], height=SIZE[1])],
            frame_encodings=[pb.FRAME_ENCODING_PNG, 99],  # pyright: ignore[reportArgumentType]
            samplers=[pb.SAMPLER_FLOW_EULER],
            default_generation=GENERATION,
            windows=WINDOWS,
            limits=LIMITS,
            settings=[
                pb.Setting(
                    name="steps",
                    meaning="Denoising steps.",
                    minimum=1,
                    maximum=50,
                    changes_in_stream=True,
                ),
                pb.Setting(name="seed", meaning="The seed of the noise."),
            ],
            styles=[pb.Style(name="natural", prompt="daylight")],
            presets=[pb.Preset(name="fast", steps=6)],
            idle_modes=[pb.IDLE_MODE_WARP, pb.IDLE_MODE_STILL, 99],  # pyright: ignore[reportArgumentType]
        )

    def _updated(self, update: pb.Update, speech: FakeSpeech) -> pb.AnimateResponse:
        """Takes any settings but a seed."""
        if update.generation.HasField("seed"):
            refused = pb.UpdateRefused(
                update_id=update.update_id,
                reason="INVALID_FIELD",
                field="update.generation.seed",
                message="update.generation.seed: cannot be changed in a stream",
            )
            return pb.AnimateResponse(update_refused=refused)
        settings = pb.GenerationSettings()
        settings.CopyFrom(GENERATION)
        settings.MergeFrom(update.generation)
        updated = pb.Updated(
            update_id=update.update_id,
            generation=settings,
            utterance_id=max(0, speech.utterance),
            window=1,
            frame_index=speech.frames,
        )
        return pb.AnimateResponse(updated=updated)

    def _video(self, asked: pb.VideoFormat) -> pb.VideoFormat:
        return pb.VideoFormat(
            encoding=asked.encoding or pb.FRAME_ENCODING_JPEG,
            width=SIZE[0],
            height=SIZE[1],
            jpeg_quality=90,
            frames_per_second=25,
        )

    def _note(self, context: Any) -> None:
        self.metadata = dict(context.invocation_metadata())
        self.deadline_s = context.time_remaining()

    def _maybe_refuse(self, context: Any) -> None:
        if self.refuse is not None and len(self.chunks) >= self.refuse_after_chunks:
            context.abort_with_status(rpc_status.to_status(self.refuse))

    def _started(self, request: pb.Start | pb.RenderRequest, video: pb.VideoFormat) -> pb.Started:
        return pb.Started(
            request_id=self.metadata.get("x-request-id", "r1"),
            client_session_id=request.client_session_id,
            audio_format=request.audio_format,
            video_format=video,
            generation=GENERATION,
            windows=WINDOWS,
            limits=LIMITS,
        )


def _until_ended(context: Any) -> None:
    over = threading.Event()
    if context.add_callback(over.set):
        over.wait()


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
