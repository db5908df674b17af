"""The frames and events of a stream that a server without a model answers."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from echomimic.v1 import avatar_service_pb2 as pb
from google.protobuf import duration_pb2
from PIL import Image

SIZE = (96, 64)
SAMPLE_BYTES = {pb.AUDIO_ENCODING_PCM_S16LE: 2, pb.AUDIO_ENCODING_PCM_F32LE: 4}


def colour(index: int) -> tuple[int, int, int]:
    return (40 + index % 160, 90, 200 - index % 160)


@dataclass
class FakeSpeech:
    """What one stream has said: utterances, and the frames that they have got."""

    audio: pb.AudioFormat
    video: pb.VideoFormat
    frames: int = 0
    utterance: int = -1
    first_frame: int = 0
    first_sample: int = 0
    samples: int = 0
    """Of the running utterance; 0 means that there is none."""

    def idle(self, frames: int) -> Iterator[pb.AnimateResponse]:
        """Some frames before anything is said."""
        for _ in range(frames):
            frame = self._frame()
            frame.kind, frame.utterance_id = pb.FRAME_KIND_IDLE, self.utterance + 1
            frame.first_audio_sample = self.first_sample
            yield pb.AnimateResponse(frame=frame)
            self.frames += 1

    def said(self, data: bytes) -> Iterator[pb.AnimateResponse]:
        samples = len(data) // (SAMPLE_BYTES[self.audio.encoding] * (self.audio.channels or 1))
        if samples and not self.samples:
            self.utterance += 1
            self.first_frame = self.frames
            yield self._event(pb.UTTERANCE_PHASE_BEGAN, self.frames, self.first_sample)
        self.samples += samples
        yield from self._until(self.first_frame + self.samples * 25 // self.audio.sample_rate_hz)

    def ended(self) -> Iterator[pb.AnimateResponse]:
        if self.samples:
            yield from self._until(
                self.first_frame - (-self.samples * 25 // self.audio.sample_rate_hz)
            )
            self.first_sample += self.samples
            self.samples = 0
            yield self._event(pb.UTTERANCE_PHASE_ENDED, self.frames - 1, self.first_sample)

    def interrupted(self) -> pb.AnimateResponse:
        self.first_sample += self.samples
        self.samples = 0
        return pb.AnimateResponse(
            interrupted=pb.Interrupted(
                last_frame_index=self.frames - 1,
                next_audio_sample=self.first_sample,
                last_played_frame_index=self.frames - 1,
                resume_audio_sample=self.first_sample,
            )
        )

    def _until(self, end: int) -> Iterator[pb.AnimateResponse]:
        while self.frames < end:
            yield pb.AnimateResponse(frame=self._frame())
            self.frames += 1

    def _event(
        self, phase: pb.UtterancePhase, frame_index: int, audio_sample: int
    ) -> pb.AnimateResponse:
        return pb.AnimateResponse(
            utterance=pb.UtteranceEvent(
                utterance_id=self.utterance,
                phase=phase,
                frame_index=frame_index,
                audio_sample=audio_sample,
            )
        )

    def _frame(self) -> pb.Frame:
        within = self.frames - self.first_frame
        return pb.Frame(
            index=self.frames,
            utterance_id=self.utterance,
            presentation_time=duration_pb2.Duration(
                seconds=self.frames // 25, nanos=self.frames % 25 * 40_000_000
            ),
            first_audio_sample=self.first_sample + within * self.audio.sample_rate_hz // 25,
            kind=pb.FRAME_KIND_SPEECH,
            encoding=self.video.encoding,
            width=self.video.width,
            height=self.video.height,
            data=picture(self.frames, self.video.encoding),
        )


def summary(frames: int) -> pb.Summary:
    latency = duration_pb2.Duration(nanos=250_000_000)
    return pb.Summary(frames=frames, first_frame_latency=latency, realtime_factor=1.25)


def picture(index: int, encoding: pb.FrameEncoding) -> bytes:
    return _encode(np.full((SIZE[1], SIZE[0], 3), colour(index), np.uint8), encoding)


def _encode(picture: np.ndarray, encoding: pb.FrameEncoding) -> bytes:
    if encoding == pb.FRAME_ENCODING_RGB:
        return picture.tobytes()
    file = io.BytesIO()
    forms = {pb.FRAME_ENCODING_PNG: "PNG", pb.FRAME_ENCODING_WEBP: "WEBP"}
    Image.fromarray(picture).save(file, forms.get(encoding, "JPEG"))
    return file.getvalue()
