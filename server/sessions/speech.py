"""An utterance: PCM bytes in, the timeline filled, samples counted, limits kept."""

import asyncio
import math
from dataclasses import dataclass
from fractions import Fraction

from server.audio.clock import MODEL_RATE_HZ, MODEL_SAMPLES_PER_FRAME, Clock
from server.audio.decoder import PcmDecoder
from server.audio.pcm import AudioFormat, Samples
from server.audio.resampler import Resampler
from server.audio.timeline import AudioBudget, AudioTimeline
from server.errors import InvalidFieldError, LimitError
from server.notices import Notice
from server.sessions.report import Report

INLINE_BYTES = 1 << 16
"""Chunks up to this size are decoded on the event loop; larger ones would hold it up."""


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """How much audio a call may have.

    Attributes:
        max_audio_s: in all.
        limit: what `Limits` calls that.
        max_buffered_s: that waits to be used.
        told_s: with how much left the client is told, if at all.
        resumable_s: how much is kept to be said again after an interruption.
    """

    max_audio_s: float
    limit: str
    max_buffered_s: float
    told_s: float = -math.inf
    resumable_s: float = 0.0


class Speech:
    """Takes the audio of one utterance, chunk by chunk."""

    def __init__(
        self,
        number: int,
        audio_format: AudioFormat,
        report: Report,
        limits: AudioLimits,
        budget: AudioBudget,
        frame_rate: Fraction,
        first_sample: int | None = None,
    ) -> None:
        """Begins where the call's audio has come to, unless it is said again.

        Args:
            number: of the utterance in its call, from 0.
            audio_format: how its bytes are to be read.
            report: counts the call's audio.
            limits: those of the call.
            budget: what the call's utterances share.
            frame_rate: of the frames that are shown.
            first_sample: where what is said again was in the call's audio.
        """
        self.number = number
        self.first_sample = report.audio_samples if first_sample is None else first_sample
        """Position in the call's audio."""
        self.samples = 0
        self.clock = Clock(audio_format.sample_rate_hz, frame_rate)
        self.timeline = AudioTimeline(budget)
        self.frame_count: int | None = None
        """Frames of the model's there will be; None while more audio may come."""
        self._format = audio_format
        self._report = report
        self._decoder = PcmDecoder(audio_format)
        self._resampler = Resampler(audio_format.sample_rate_hz)
        self._limits = limits
        self._budget = budget

    @property
    def shown_frames(self) -> int | None:
        """Frames to be shown; None while more audio may come."""
        return None if self.frame_count is None else self.known_frames

    @property
    def known_frames(self) -> int:
        """Frames to be shown of what has been said so far."""
        return self.clock.frame_count(self.samples)

    def sample_of(self, frame: int) -> int:
        """Returns where a frame of this utterance begins in the call's audio."""
        return self.first_sample + min(self.samples, self.clock.first_sample(frame))

    async def push(self, data: bytes, *, field: str) -> None:
        """Takes a chunk.

        Raises:
            InvalidFieldError: the bytes are no samples of the format, or those of a file.
            LimitError: the call's audio, or what of it waits to be used, gets too long.
        """
        if not data:
            raise InvalidFieldError(field, "is empty; send at least one sample")
        samples = len(data) // self._format.bytes_per_sample
        self._check_limits(samples, field)
        if len(data) <= INLINE_BYTES:
            resampled = self._resample(data, field)
        else:
            resampled = await asyncio.to_thread(self._resample, data, field)
        await self._take(resampled, data, samples)

    async def push_again(self, data: bytes, *, field: str) -> None:
        """Takes a chunk that was counted when it came first; others go on meanwhile.

        Raises:
            InvalidFieldError: from here on it begins as a file does.
        """
        await self._take(await asyncio.to_thread(self._resample, data, field), data, 0)

    async def finish(self) -> None:
        """Says that the utterance is over."""
        self._decoder.finish()
        self.frame_count = Clock(self.clock.sample_rate_hz).frame_count(self.samples)
        await self.timeline.finish(
            self._resampler.finish(), self.frame_count * MODEL_SAMPLES_PER_FRAME
        )

    def notices(self) -> tuple[Notice, ...]:
        """Returns what is wrong with the audio and has not been returned before."""
        return self._decoder.notices()

    async def whole(self) -> Samples:
        """Returns all samples at 16 kHz of an utterance that is over, none of which was taken."""
        length = -(-self.samples * MODEL_RATE_HZ // self.clock.sample_rate_hz)
        return await self.timeline.take(0, length)

    async def _take(self, resampled: Samples, data: bytes, counted: int) -> None:
        self.samples += len(data) // self._format.bytes_per_sample
        self._report.audio_received(self.number, counted)
        await self.timeline.push(resampled)

    def _check_limits(self, samples: int, field: str) -> None:
        limits, rate = self._limits, self.clock.sample_rate_hz
        if (self._report.audio_samples + samples) / rate > limits.max_audio_s:
            raise LimitError(limits.limit, f"the audio is longer than {limits.max_audio_s:g} s")
        if not self._budget.has_room(samples * MODEL_RATE_HZ // rate):
            problem = (
                f"{field}: more than {limits.max_buffered_s:g} s of audio wait to be animated; "
                "send it at the speed of speaking"
            )
            raise LimitError("max_buffered_audio", problem)

    def _resample(self, data: bytes, field: str) -> Samples:
        return self._resampler.push(self._decoder.push(data, field=field))
