"""What a stream goes without where memory is short, a rung at a time.

    rows of a step together -> one after the other -> windows of the next shorter length

What was lowered stays so until the stream ends. The next one begins with all of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from server.animation.windows import Window
from server.errors import OutOfMemoryError
from server.notices import Notice
from server.triton.engine import Engine
from server.triton.rows import RowsEngine

MEMORY_LOW = "MEMORY_LOW"


class Economy:
    """What one stream has been lowered to."""

    def __init__(self, lengths: Sequence[int], tell: Callable[[Notice], None]) -> None:
        """Begins with nothing lowered.

        Args:
            lengths: frames that windows may be shortened to; without any nothing is lowered.
            tell: told of what is lowered.
        """
        self._engine: Engine | None = None
        self._lengths = sorted(set(lengths))
        self._longest: int | None = None
        self._tell = tell

    def parting(self, engine: Engine) -> Engine:
        """Returns an engine that lowers rows, the same each time, or the one that is handed in."""
        if self._engine is None:
            self._engine = RowsEngine(engine, self._parted) if self._lengths else engine
        return self._engine

    def fitted(self, window: Window) -> Window:
        """Returns a window no longer than memory has had room for."""
        frames = window.frames if self._longest is None else min(window.frames, self._longest)
        return replace(window, frames=frames)

    def shortened(self, window: Window, error: OutOfMemoryError) -> Window:
        """Returns a window of the next shorter length, which no later window exceeds.

        Raises:
            OutOfMemoryError: there is none; the error that was handed in.
        """
        shorter = [frames for frames in self._lengths if frames < window.frames]
        if not shorter:
            raise error
        self._longest = shorter[-1]
        self._lowered(
            error.network, f"windows have {shorter[-1]} frames from now on, not {window.frames}"
        )
        return self.fitted(window)

    def _parted(self, network: str) -> None:
        self._lowered(
            network, "the branches of a step are computed one after the other, which takes longer"
        )

    def _lowered(self, network: str, what: str) -> None:
        problem = f"there is not enough memory to run {network} as usual"
        self._tell(Notice(MEMORY_LOW, f"{problem}: {what}; ask for a smaller size to avoid it"))


REFUSED = Economy((), lambda _: None)
"""That of whoever is refused where memory is short."""
