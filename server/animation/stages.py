"""Where the time of a window goes, stage by stage."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal, Self

from server.recorder import Recorder
from server.spans import Span, current, enter, problem_of

Stage = Literal["audio", "condition", "features", "denoise", "decode", "stitch"]
"""What a window goes through; ``audio`` is waiting for what is said."""


@dataclass(frozen=True, slots=True)
class Work:
    """How long a window of so many frames took.

    Attributes:
        frames: of the window.
        seconds: from its audio being there to its frames being there.
        busy_s: all that was done for it, before its audio was there too.
        engine_share: what that took of the engines for each second of frames that it adds, where it
            was counted.
    """

    frames: int
    seconds: float
    busy_s: float
    engine_share: float = 0.0

    def without(self, held_s: float) -> "Work":
        """Returns it without a part of what was done, in which others were let go first."""
        busy_s = self.busy_s - held_s
        # Some of that may have been before its audio was there.
        return replace(self, seconds=min(self.seconds, busy_s), busy_s=busy_s)


class Stopwatch:
    """Tells a recorder how long each stage of a window took, and whoever traces when.

    As a context: a window that something goes wrong with ends there. What is run in a stage is a
    part of it to whoever traces.
    """

    def __init__(self, recorder: Recorder, now: Callable[[], float] = time.monotonic) -> None:
        """Begins outside of any window; ``now`` is a monotonic clock in seconds."""
        self._recorder = recorder
        self._now = now
        self._stages_s: dict[str, float] = {}
        self._stage: Stage | None = None
        self._began_s = self._heard_s = now()
        self._around = current()
        self._window: Span | None = None
        self._part = self._around

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A window that is left without an error has only been waited for, and never came.
        if error is not None and self._window is not None:
            self._part.end(problem_of(error))
            self._window.end(problem_of(error))
        enter(self._around)

    def begin(self, stage: Stage) -> None:
        """Begins a stage, or another part of it, which ends the one before."""
        if self._window is None:
            self._window = self._around.child("window")
        self._began_s = self._end_stage()
        self._stage = stage
        self._part = self._window.child(stage)
        enter(self._part)

    def finish(self, frames: int) -> Work:
        """Ends a window of so many frames, with the stage that it is in."""
        ended_s = self._end_stage()
        if self._window is not None:
            self._window.note(frames=frames)
            self._window.end()
            self._window = None
        enter(self._around)
        stages_s, self._stages_s = self._stages_s, {}
        self._recorder.window_ended(frames, stages_s)
        busy_s = sum(seconds for stage, seconds in stages_s.items() if stage != "audio")
        return Work(frames, ended_s - self._heard_s, busy_s)

    def _end_stage(self) -> float:
        """Returns when."""
        ended_s = self._now()
        if self._stage is not None:
            took_s = ended_s - self._began_s
            self._stages_s[self._stage] = self._stages_s.get(self._stage, 0.0) + took_s
            if self._stage == "audio":
                self._heard_s = ended_s
            self._part.end()
            self._stage = None
        return ended_s
