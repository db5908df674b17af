"""One call's work, from a checked job to encoded frames; Animate and Render share it."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from echomimic.v1 import avatar_service_pb2 as pb

from server.encoding import encode_frame
from server.gateway import Gateway, Sitter
from server.jobs import Job
from server.report import Report
from server.speech import Speech
from server.stitch import Clip
from server.wire import responses


@dataclass(frozen=True, slots=True)
class Session:
    """A job at work: who is animated, what is said, and what has come of it."""

    gateway: Gateway
    job: Job
    sitter: Sitter
    speech: Speech
    report: Report

    async def clips(self) -> AsyncIterator[Clip]:
        """Yields the pictures, a clip for each window and one for the end."""
        async for clip in self.gateway.frames(self.job, self.sitter, self.speech):
            self.report.windows = clip.window + 1
            yield clip

    async def frames(self) -> AsyncIterator[pb.Frame]:
        """Yields the frames, encoded and placed in time."""
        video_format = self.job.video_format
        async for clip in self.clips():
            for index, picture in enumerate(clip.pictures, clip.start):
                data = await asyncio.to_thread(
                    encode_frame, picture, video_format.encoding, video_format.jpeg_quality
                )
                yield responses.frame(index, data, video_format, self.speech.clock)


async def open_session(
    gateway: Gateway, job: Job, *, max_audio_s: float, limit: str, max_buffered_s: float
) -> Session:
    """Decodes the portrait and opens an empty timeline.

    Args:
        gateway: what runs the job.
        job: the job.
        max_audio_s: how much audio it may have.
        limit: what `Limits` calls that.
        max_buffered_s: how much audio may wait to be used.

    Raises:
        InvalidFieldError: the portrait is no usable picture.
    """
    sitter = await gateway.sitter(job)
    report = Report(job.audio_format.sample_rate_hz, time.monotonic)
    speech = Speech(
        job.audio_format,
        report,
        max_audio_s=max_audio_s,
        limit=limit,
        max_buffered_s=max_buffered_s,
    )
    return Session(gateway, job, sitter, speech, report)
