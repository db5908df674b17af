"""How long executions usually take, and so which network of a Triton hangs.

A network that hangs answers nothing, but neither does one that is slow or has much waiting. So each
is given several times what all that the Triton was asked for usually takes, told by the amount of
what goes in. What never ran before may take any time: engines prepare themselves for new shapes.
"""

import asyncio
import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from server.errors import ExecutionTimeoutError
from server.triton.contract import Arrays, Network

HANG_S, HANG_FACTOR = 7.0, 6.0
"""A network hangs that answers nothing for so long, and for so many times what is usual."""
FADING = 0.9
"""The slowest execution counts, but each one after it makes it count less."""


@dataclass(eq=False, slots=True)
class _Asked:
    """An execution that Triton was asked for, and may still be at."""

    network: str
    magnitude: int
    """Of the inputs: amounts up to twice each other have the same."""
    began_s: float
    awaited: bool = True


class Pace:
    """Watches the executions of one Triton."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Begins with nothing known; ``now`` is a monotonic clock in seconds."""
        self._now = now
        self._asked: list[_Asked] = []
        self._usual_s: dict[tuple[str, int], float] = {}
        self._answered_s: dict[str, float] = {}

    @contextmanager
    def execution(self, network: Network, inputs: Arrays) -> Generator[None]:
        """Surrounds an execution; ``inputs`` are those that change from one to the next."""
        magnitude = sum(array.size for array in inputs.values()).bit_length()
        asked = _Asked(network.name, magnitude, self._now())
        self._asked.append(asked)
        try:
            yield
        except (asyncio.CancelledError, ExecutionTimeoutError):
            # Triton does not stop what it has begun.
            asked.awaited = False
            raise
        except BaseException:
            self._answered(asked)
            raise
        else:
            usual_s = FADING * self._usual_s.get((asked.network, magnitude), 0.0)
            took_s = self._now() - self._at_work_since_s(asked)
            self._usual_s[asked.network, magnitude] = max(took_s, usual_s)
            self._answered(asked)

    def hung(self) -> str | None:
        """Returns the name of a network that hangs, if one does."""
        waiting = {asked.network: asked for asked in reversed(self._asked) if asked.awaited}
        for network, oldest in waiting.items():
            if self._now() - self._at_work_since_s(oldest) > self._patience_s(network):
                return network
        return None

    def forget(self) -> None:
        """Says that Triton may be another one, which knows nothing of what the last was asked."""
        self._asked.clear()
        self._usual_s.clear()

    def _at_work_since_s(self, asked: _Asked) -> float:
        """Returns since when nothing else has kept an execution waiting."""
        return max(asked.began_s, self._answered_s.get(asked.network, -math.inf))

    def _patience_s(self, network: str) -> float:
        expected_s = 0.0
        for asked in self._asked:
            if asked.network == network:
                expected_s += self._usual_s.get((network, asked.magnitude), math.inf)
            elif asked.awaited:
                expected_s += self._usual_s.get((asked.network, asked.magnitude), 0.0)
        return max(HANG_S, HANG_FACTOR * expected_s)

    def _answered(self, asked: _Asked) -> None:
        # A network answers in order: what was given up before this one is done, too.
        self._asked = [
            other
            for other in self._asked
            if other is not asked
            and (other.awaited or other.network != asked.network or other.began_s > asked.began_s)
        ]
        self._answered_s[asked.network] = self._now()
