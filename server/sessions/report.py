"""What a conversation came to: its summary for the client and its line in the log."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from server.audio.clock import MODEL_FRAME_RATE


@dataclass
class Report:
    """Counts a conversation as it goes; ``now`` is a monotonic clock in seconds."""

    sample_rate_hz: int
    now: Callable[[], float]
    frame_rate: Fraction = MODEL_FRAME_RATE
    audio_samples: int = 0
    frames: int = 0
    windows: int = 0
    playable_s: float = 0.0
    """Seconds from an utterance's first audio received to the start of playback that never stalls,
    in the utterance for which that takes longest."""
    _first_frame_s: float | None = None
    _last_frame_s: float | None = None
    _begun_s: dict[int, float] = field(default_factory=dict[int, float])
    """When each utterance's first audio came."""
    _first_frame_of: dict[int, int] = field(default_factory=dict[int, int])

    def audio_received(self, utterance_id: int, samples: int) -> None:
        """Counts samples of one channel."""
        self._begun_s.setdefault(utterance_id, self.now())
        self.audio_samples += samples

    def frame_sent(self, utterance_id: int) -> None:
        """Counts a frame."""
        now_s = self.now()
        number = self.frames - self._first_frame_of.setdefault(utterance_id, self.frames)
        late_s = now_s - self._begun_s[utterance_id] - float(number / self.frame_rate)
        self.playable_s = max(self.playable_s, late_s)
        self.frames += 1
        self._last_frame_s = now_s
        if self._first_frame_s is None:
            self._first_frame_s = now_s

    @property
    def audio_s(self) -> float:
        """Length of the audio received, in seconds."""
        return self.audio_samples / self.sample_rate_hz

    @property
    def media_s(self) -> float:
        """Length of the frames sent, in seconds."""
        return float(self.frames / self.frame_rate)

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
        """Seconds of frames for each second of wall time; 0 without frames."""
        return self.media_s / self.wall_s if self.wall_s else 0.0

    def _since_first_audio(self, moment_s: float | None) -> float:
        return 0.0 if moment_s is None else moment_s - min(self._begun_s.values())
