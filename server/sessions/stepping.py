"""Fewer denoising steps for a stream that falls behind real time, and more where there is room.

    what the last windows took -> their speed -> below 1: fewer -> far above it, for long: one more

Between both limits nothing changes, and after a change the speed is measured anew, so that steps do
not go up and down with every window.
"""

from collections import deque

from server.notices import Notice

BEHIND_WINDOWS = 2
"""So many windows in a row are slower than they are played before steps are lowered."""
CALM_WINDOWS = 8
"""So many are faster by far before there is one more step."""
AIM = 1.1
"""Seconds of frames for each second that is aimed at by lowering."""
ROOM = 1.3
"""What would have to be left of the speed with one more step, were steps all that takes time."""


class Stepping:
    """Says how many steps windows are made with."""

    def __init__(self, fewest: int, steps: int) -> None:
        """Begins with all steps.

        Args:
            fewest: the floor.
            steps: those that are asked for.
        """
        self.steps = steps
        self._asked: int = steps
        self._fewest = fewest
        self._windows: deque[tuple[float, float]] = deque(maxlen=CALM_WINDOWS)
        """Seconds of frames in each of the last windows of as many steps, and those it took."""

    def notice(self, before: int) -> Notice:
        """Returns what is to be said of a change from so many steps."""
        change = f"from the next window on with {self.steps} steps in place of {before}"
        if self.steps < before:
            message = f"frames are made more slowly than they are played: {change}"
            return Notice("BEHIND_REALTIME", message)
        return Notice("CAUGHT_UP", f"frames are made much faster than they are played: {change}")

    def made(self, frames_s: float, took_s: float, drawn: int, most: int, asked: int) -> bool:
        """Takes note of a window; tells whether the next ones are to be made with other steps.

        Args:
            frames_s: length of the frames that it added.
            took_s: what it took.
            drawn: steps that it was made with.
            most: steps that windows are to be made with. Where these are no longer those that were
                said here, since an update has changed them, it begins anew.
            asked: steps in force, the most there are.
        """
        if (most, asked) != (self.steps, self._asked):
            self.steps, self._asked = most, asked
            self._windows.clear()
        before = self.steps
        if drawn == self.steps:
            self._windows.append((frames_s, max(took_s, 1e-9)))
            self.steps = self._fitting()
        if self.steps != before:
            self._windows.clear()
        return self.steps != before

    def _fitting(self) -> int:
        """Returns the steps that the last windows leave time for."""
        if len(self._windows) >= BEHIND_WINDOWS and self._speed < 1:
            fitting = min(self.steps - 1, int(self.steps * self._speed / AIM))
            return min(self.steps, max(self._fewest, fitting))
        is_measured = len(self._windows) == CALM_WINDOWS and self.steps < self._asked
        if is_measured and self._speed * self.steps >= ROOM * (self.steps + 1):
            return self.steps + 1
        return self.steps

    @property
    def _speed(self) -> float:
        """Seconds of frames for each second that the last windows took."""
        frames_s = sum(frames_s for frames_s, _ in self._windows)
        return frames_s / sum(took_s for _, took_s in self._windows)
