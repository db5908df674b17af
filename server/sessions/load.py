"""What streams take of the engines, as measured, and whether there is room for one more."""

from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from statistics import median

from server.errors import CapacityError
from server.sessions.admission import RETRY_AFTER_S
from server.sessions.window_times import MAX_KINDS, REMEMBERED, Kind

LIMIT = "max_load"


class Seat:
    """A stream that is counted, as one whose windows are of a kind."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind


class Load:
    """Adds up what the streams at work take.

    That of a stream is the seconds of an engine that a second of its frames takes, and so the share
    of one that keeps up with speech: the median of the last windows of its kind. As long as none
    was made, it is that of the kind made last, in proportion to pixels, steps and branches.
    """

    def __init__(self, max_load: float, engines: Callable[[], int]) -> None:
        """Begins with nothing measured and no stream.

        Args:
            max_load: what streams may take together of each engine; 0 lets in all.
            engines: tells how many there are just now.
        """
        self._max = max_load
        self._engines = engines
        self._seats: set[Seat] = set()
        self._shares: OrderedDict[Kind, deque[float]] = OrderedDict()

    def note(self, kind: Kind, share: float) -> None:
        """Counts a window that took so many seconds of engines for each second of its frames."""
        self._shares.setdefault(kind, deque(maxlen=REMEMBERED)).append(share)
        self._shares.move_to_end(kind)
        if len(self._shares) > MAX_KINDS:
            self._shares.popitem(last=False)

    def share(self, kind: Kind) -> float:
        """Returns what a stream of a kind takes of an engine; 0 as long as nothing was measured."""
        if kind in self._shares:
            return median(self._shares[kind])
        if not self._shares:
            return 0.0
        last = next(reversed(self._shares))
        return median(self._shares[last]) * kind.magnitude / last.magnitude

    @property
    def taken(self) -> float:
        """What all streams take together of each engine."""
        return sum(self.share(seat.kind) for seat in self._seats) / max(1, self._engines())

    @contextmanager
    def stream(self, kind: Kind) -> Generator[Seat]:
        """Counts a stream as long as the context lasts. The first one is let in at any rate.

        Raises:
            CapacityError: there is no room for it.
        """
        taken, more = self.taken, self.share(kind) / max(1, self._engines())
        if self._max and self._seats and taken + more > self._max:
            raise CapacityError(
                LIMIT,
                f"what runs ({len(self._seats)}) takes {taken:.2f} of what the engines can do, "
                f"this would take {more:.2f}, and {self._max:g} is allowed",
                RETRY_AFTER_S,
            )
        seat = Seat(kind)
        self._seats.add(seat)
        try:
            yield seat
        finally:
            self._seats.discard(seat)
