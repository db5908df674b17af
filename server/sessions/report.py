"""What a call came to: its summary for the client and its line in the log."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Report:
    """Counts a call as it goes; ``now`` is a monotonic clock in seconds."""

    sample_rate_hz: int
    now: Callable[[], float]
    audio_samples: int = 0
    frames: int = 0
    windows: int = 0
    _first_audio_s: float | None = None
    _first_frame_s: float | None = None
    _last_frame_s: float | None = None

    def audio_received(self, samples: int) -> None:
        """Counts samples of one channel."""
        if self._first_audio_s is None:
            self._first_audio_s = self.now()
        self.audio_samples += samples

    def frame_sent(self) -> None:
        """Counts a frame."""
        self.frames += 1
        self._last_frame_s = self.now()
        if self._first_frame_s is None:
            self._first_frame_s = self._last_frame_s

    @property
    def audio_s(self) -> float:
        """Length of the audio in seconds."""
        return self.audio_samples / self.sample_rate_hz

    @property
    def first_frame_s(self) -> float:
        """Seconds from the first audio received to the first frame sent; 0 without frames."""
        return self._since_first_audio(self._first_frame_s)

    @property
    def wall_s(self) -> float:
        """Seconds from the first audio received to the last frame sent; 0 without frames."""
        return self._since_first_audio(self._last_frame_s)

    @property
    def realtime_factor(self) -> float:
        """Seconds of media for each second of wall time; 0 without frames."""
        return self.audio_s / self.wall_s if self.wall_s else 0.0

    def _since_first_audio(self, moment_s: float | None) -> float:
        if moment_s is None or self._first_audio_s is None:
            return 0.0
        return moment_s - self._first_audio_s
