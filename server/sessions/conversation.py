"""One call's work, from a checked job to encoded frames; Animate and Render share it."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from server.animation.stitch import Clip
from server.audio.clock import MODEL_RATE_HZ
from server.audio.timeline import AudioBudget
from server.pictures.encoding import encode_frame
from server.pictures.portrait import Picture
from server.sessions.gateway import Gateway, Sitter
from server.sessions.jobs import Job
from server.sessions.report import Report
from server.sessions.speech import AudioLimits, Speech


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """A frame of an utterance, its number counted from the utterance's beginning."""

    speech: Speech
    number: int
    picture: Picture
    data: bytes


@dataclass(frozen=True, slots=True)
class Session:
    """A job at work: who is animated, within which limits, and what has come of it."""

    gateway: Gateway
    job: Job
    sitter: Sitter
    limits: AudioLimits
    budget: AudioBudget
    report: Report

    def new_speech(self, number: int) -> Speech:
        """Begins an utterance."""
        return Speech(number, self.job.audio_format, self.report, self.limits, self.budget)

    async def clips(self, speech: Speech, opening: Picture | None = None) -> AsyncIterator[Clip]:
        """Yields an utterance's pictures, a clip for each window and one for the end.

        They begin with ``opening``, or else with the portrait.
        """
        windows = 0
        async for clip in self.gateway.frames(self.job, self.sitter, speech, opening):
            self.report.windows += clip.window + 1 - windows
            windows = clip.window + 1
            yield clip

    async def frames(
        self, speech: Speech, opening: Picture | None = None
    ) -> AsyncIterator[EncodedFrame]:
        """Yields an utterance's frames, encoded."""
        video_format = self.job.video_format
        async for clip in self.clips(speech, opening):
            for number, picture in enumerate(clip.pictures, clip.start):
                data = await asyncio.to_thread(
                    encode_frame, picture, video_format.encoding, video_format.jpeg_quality
                )
                yield EncodedFrame(speech, number, picture, data)


async def open_session(gateway: Gateway, job: Job, limits: AudioLimits) -> Session:
    """Decodes the portrait, which may give the output its shape; nothing has been said yet.

    Raises:
        InvalidFieldError: the portrait is no usable picture.
    """
    sitter = await gateway.sitter(job)
    height, width, _ = sitter.picture.shape
    job = replace(job, video_format=replace(job.video_format, width=width, height=height))
    report = Report(job.audio_format.sample_rate_hz, time.monotonic)
    budget = AudioBudget(int(limits.max_buffered_s * MODEL_RATE_HZ))
    return Session(gateway, job, sitter, limits, budget, report)
