"""Where the time of a window goes, stage by stage."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from server.recorder import Recorder

Stage = Literal["audio", "condition", "features", "denoise", "decode", "stitch"]
"""What a window goes through; ``audio`` is waiting for what is said."""


@dataclass(frozen=True, slots=True)
class Work:
    """How long a window of so many frames took.

    Attributes:
        frames: of the window.
        seconds: from its audio being there to its frames being there.
        busy_s: all that was done for it, before its audio was there too.
    """

    frames: int
    seconds: float
    busy_s: float


class Stopwatch:
    """Tells a recorder how long each stage of a window took."""

    def __init__(self, recorder: Recorder, now: Callable[[], float] = time.monotonic) -> None:
        """Starts; ``now`` is a monotonic clock in seconds."""
        self._recorder = recorder
        self._now = now
        self._stages_s: dict[str, float] = {}
        self._heard_s = now()
        self.start()

    def start(self) -> None:
        """Begins a stage that follows none."""
        self._began_s = self._now()

    def lap(self, stage: Stage) -> None:
        """Ends a stage, or a part of it, and begins the next."""
        began_s, self._began_s = self._began_s, self._now()
        self._stages_s[stage] = self._stages_s.get(stage, 0.0) + self._began_s - began_s
        if stage == "audio":
            self._heard_s = self._began_s

    def finish(self, frames: int) -> Work:
        """Ends a window of so many frames with the stage that ended last."""
        stages_s, self._stages_s = self._stages_s, {}
        self._recorder.window_ended(frames, stages_s)
        busy_s = sum(seconds for stage, seconds in stages_s.items() if stage != "audio")
        return Work(frames, self._began_s - self._heard_s, busy_s)
