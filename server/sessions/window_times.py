"""How long windows take here, and what a player is advised by it."""

from collections import OrderedDict, deque
from statistics import median
from typing import NamedTuple, Self

from server.animation.defaults import GenerationSettings
from server.animation.guidance import Branch
from server.animation.stages import Work
from server.animation.teacache import TeaCache
from server.animation.variant import guidance
from server.animation.windows import WindowSpec
from server.audio.clock import FRAME_RATE

MAX_KINDS = 256
"""Kinds come from clients: those that were made the longest ago are forgotten beyond."""
REMEMBERED = 9
"""The last windows of a kind, of which the median counts: it follows what else is running."""


class Kind(NamedTuple):
    """What decides, besides its length, how long a window takes."""

    size: tuple[int, int]
    steps: int
    rows: tuple[Branch, ...]
    skip_ratio: float
    teacache: TeaCache | None

    @property
    def magnitude(self) -> int:
        """What work grows with: pixels, steps and branches."""
        width, height = self.size
        return width * height * self.steps * len(self.rows)

    @classmethod
    def of(cls, settings: GenerationSettings, size: tuple[int, int]) -> Self:
        """Returns the kind of windows of some settings and a size (width, height)."""
        how = guidance(settings)
        return cls(size, settings.steps, how.rows, how.skip_ratio, settings.teacache)


class WindowTimes:
    """Remembers what windows took, of all conversations."""

    def __init__(self) -> None:
        """Begins with nothing known."""
        self._took_s: OrderedDict[tuple[Kind, int], deque[float]] = OrderedDict()

    def note(self, kind: Kind, work: Work) -> None:
        """Counts a window."""
        key = kind, work.frames
        self._took_s.setdefault(key, deque(maxlen=REMEMBERED)).append(work.seconds)
        self._took_s.move_to_end(key)
        if len(self._took_s) > MAX_KINDS:
            self._took_s.popitem(last=False)

    def advised_buffer_s(self, kind: Kind, spec: WindowSpec) -> float:
        """Returns how long after the first frame a player is to start, so that it never waits.

        A later window leaves when its audio is there and it is made, but the frames of the first
        one are shown sooner by what it is shorter, and were made sooner. What windows take is
        known once some of the kind were made; until then it is left out.
        """
        speech_s = (spec.longest - spec.first) / FRAME_RATE
        first, longest = (self._took_s.get((kind, n)) for n in (spec.first, spec.longest))
        if first is None or longest is None:
            return speech_s
        return speech_s + max(0.0, median(longest) - median(first))
