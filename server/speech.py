"""The speech of one call: PCM bytes in, the timeline filled, samples counted, limits kept."""

import asyncio

from server.audio import AudioFormat, AudioTimeline, Resampler, Samples, decode_pcm
from server.clock import MODEL_RATE_HZ, MODEL_SAMPLES_PER_FRAME, Clock
from server.errors import InvalidFieldError, LimitError
from server.report import Report

INLINE_BYTES = 1 << 16
"""Chunks up to this size are decoded on the event loop; larger ones would hold it up."""


class Speech:
    """Takes the audio of one call, chunk by chunk."""

    def __init__(
        self,
        audio_format: AudioFormat,
        report: Report,
        *,
        max_audio_s: float,
        limit: str,
        max_buffered_s: float,
    ) -> None:
        self.clock = Clock(audio_format.sample_rate_hz)
        self.timeline = AudioTimeline(max_buffered=int(max_buffered_s * MODEL_RATE_HZ))
        self.frame_count: int | None = None
        """Frames there will be; None while more audio may come."""
        self._format = audio_format
        self._report = report
        self._resampler = Resampler(audio_format.sample_rate_hz)
        self._max_audio_s = max_audio_s
        self._limit = limit
        self._max_buffered_s = max_buffered_s

    async def push(self, data: bytes, *, field: str) -> None:
        """Takes a chunk; waits while too much audio has not been used.

        Raises:
            InvalidFieldError: the bytes are no samples of the format.
            LimitError: the chunk is, or the call's audio gets, too long.
        """
        if not data:
            raise InvalidFieldError(field, "is empty; send at least one sample")
        samples = len(data) // self._format.bytes_per_sample
        if samples / self.clock.sample_rate_hz > self._max_buffered_s:
            raise LimitError(
                "max_buffered_audio",
                f"{field}: one chunk is longer than {self._max_buffered_s:g} s",
            )
        if (self._report.audio_samples + samples) / self.clock.sample_rate_hz > self._max_audio_s:
            raise LimitError(self._limit, f"the audio is longer than {self._max_audio_s:g} s")
        if len(data) <= INLINE_BYTES:
            resampled = self._resample(data, field)
        else:
            resampled = await asyncio.to_thread(self._resample, data, field)
        self._report.audio_received(samples)
        await self.timeline.push(resampled)

    async def finish(self) -> None:
        """Says that no more audio will come."""
        self.frame_count = self.clock.frame_count(self._report.audio_samples)
        await self.timeline.finish(
            self._resampler.finish(), self.frame_count * MODEL_SAMPLES_PER_FRAME
        )

    def _resample(self, data: bytes, field: str) -> Samples:
        return self._resampler.push(decode_pcm(data, self._format, field=field))
