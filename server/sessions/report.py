"""What a conversation came to: its summary for the client and its line in the log."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from server.animation.stages import Work
from server.audio.clock import FRAME_RATE, MODEL_FRAME_RATE

UTTERANCES = 1024
"""The last ones: more than can wait, and be shown, at a time."""
CLIPS = 8
"""The last clips, of which the speed counts: it follows what else is running."""


@dataclass
class Report:
    """Counts a conversation as it goes; ``now`` is a monotonic clock in seconds."""

    sample_rate_hz: int
    now: Callable[[], float]
    frame_rate: Fraction = MODEL_FRAME_RATE
    audio_samples: int = 0
    frames: int = 0
    idle_frames: int = 0
    """Those of the frames that were shown while nobody spoke."""
    windows: int = 0
    underruns: int = 0
    """Frames that were due and not made; see `server.sessions.pacer`."""
    playable_s: float = 0.0
    """Seconds from an utterance's first audio received to the start of playback that never stalls,
    in the utterance for which that takes longest."""
    _clips: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=CLIPS))
    """The model's frames in each of the last clips, and the seconds that these took."""
    _first_frame_s: float | None = None
    _last_frame_s: float | None = None
    _first_audio_s: float | None = None
    _begun_s: dict[int, float] = field(default_factory=dict[int, float])
    """When the first audio of each of the last utterances came."""
    _first_frame_of: dict[int, int] = field(default_factory=dict[int, int])

    def audio_received(self, utterance_id: int, samples: int) -> None:
        """Counts samples of one channel."""
        now_s = self.now()
        self._begun_s.setdefault(utterance_id, now_s)
        _forget_oldest(self._begun_s)
        if self._first_audio_s is None:
            self._first_audio_s = now_s
        self.audio_samples += samples

    def clip_made(self, frames: int, work: Work | None) -> None:
        """Counts some of the model's frames, and what their window took, once."""
        self._clips.append((frames, 0.0 if work is None else work.busy_s))

    @property
    def speed(self) -> float:
        """Seconds of frames for each second that the last windows took; 0 before the first one."""
        took_s = sum(seconds for _, seconds in self._clips)
        return sum(frames for frames, _ in self._clips) / FRAME_RATE / took_s if took_s else 0.0

    @property
    def slowest_frame_s(self) -> float:
        """Seconds for a frame of the slowest of the last clips; 0 where none was timed."""
        return max((seconds / frames for frames, seconds in self._clips if frames), default=0.0)

    def frame_sent(self, utterance_id: int) -> None:
        """Counts a frame."""
        now_s = self.now()
        number = self.frames - self._first_frame_of.setdefault(utterance_id, self.frames)
        _forget_oldest(self._first_frame_of)
        if utterance_id in self._begun_s:
            late_s = now_s - self._begun_s[utterance_id] - float(number / self.frame_rate)
            self.playable_s = max(self.playable_s, late_s)
        self.frames += 1
        self._last_frame_s = now_s
        if self._first_frame_s is None:
            self._first_frame_s = now_s

    def idle_frame_sent(self) -> None:
        """Counts an idle frame."""
        self.frames += 1
        self.idle_frames += 1

    @property
    def spoken_frames(self) -> int:
        """Frames of speech sent."""
        return self.frames - self.idle_frames

    @property
    def audio_s(self) -> float:
        """Length of the audio received, in seconds."""
        return self.audio_samples / self.sample_rate_hz

    @property
    def media_s(self) -> float:
        """Length of the frames of speech sent, in seconds."""
        return float(self.spoken_frames / self.frame_rate)

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
        if moment_s is None or self._first_audio_s is None:
            return 0.0
        return moment_s - self._first_audio_s


def _forget_oldest(of_utterance: dict[int, Any]) -> None:
    """Keeps what is known of the last utterances: one that is resumed is another one each time."""
    if len(of_utterance) > UTTERANCES:
        del of_utterance[next(iter(of_utterance))]
