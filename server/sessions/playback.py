"""Where playback of a conversation stands, in samples of the client's audio.

frames that leave -> Playback <- the last frame played, as the client reports it
"""

import math
from collections import deque
from dataclasses import dataclass

from server.audio.clock import Clock
from server.errors import InvalidFieldError

MAX_RUNS = 256
"""Utterances that were sent and not reported as played: those sent first are forgotten beyond."""


@dataclass(slots=True)
class _Run:
    """The frames of an utterance that have left: its first one, and the samples that they show."""

    first_index: int
    first_sample: int
    end_sample: int


class Playback:
    """Tells which sample has been played last: by reports, or else by what has been sent."""

    def __init__(self, clock: Clock) -> None:
        """Begins with nothing sent; ``clock`` relates frames to the client's samples."""
        self.sample = 0
        """At which the audio that has been played ends."""
        self._clock = clock
        self._reported: int | None = None
        self._runs: deque[_Run] = deque()
        self._unknown_before = 0
        """The first frame of which it is known what it shows."""
        self._known_sample = math.inf
        """With which the frames before that, as far as they can still be reported, began."""

    def last_played(self, last_sent: int) -> int:
        """Returns the last frame played, which is the one sent last where nothing is reported."""
        return last_sent if self._reported is None else self._reported

    def left(self, index: int, number: int, first_sample: int, end_sample: int) -> None:
        """Says that a frame of speech has been sent.

        Args:
            index: in the conversation.
            number: in its utterance.
            first_sample: of the utterance.
            end_sample: at which the frame ends.
        """
        if number == 0:
            self._runs.append(_Run(index, first_sample, end_sample))
            if len(self._runs) > MAX_RUNS:
                forgotten = self._runs.popleft()
                self._known_sample = min(self._known_sample, forgotten.first_sample)
                self._unknown_before = self._runs[0].first_index
        self._runs[-1].end_sample = end_sample
        if self._reported is None:
            self.sample = end_sample

    def report(self, index: int, last_sent: int, *, field: str) -> None:
        """Takes the index of the last frame played.

        Args:
            index: of the frame.
            last_sent: index of the last frame that was sent.
            field: what the client calls it.

        Raises:
            InvalidFieldError: no such frame was sent, or a later one was reported before.
        """
        if not 0 <= index <= last_sent:
            sent = f"frames 0 to {last_sent} were" if last_sent >= 0 else "no frame was"
            raise InvalidFieldError(field, f"is {index}, but {sent} sent")
        if self._reported is not None and index < self._reported:
            problem = f"is {index} after {self._reported}; what was played stays so"
            raise InvalidFieldError(field, problem)
        self._reported = index
        while len(self._runs) > 1 and self._runs[1].first_index <= index:
            self._runs.popleft()
        if index < self._unknown_before:
            self.sample = int(self._known_sample)
            return
        self._known_sample = math.inf
        if self._runs:
            run = self._runs[0]
            shown = max(0, index + 1 - run.first_index)
            self.sample = min(run.end_sample, run.first_sample + self._clock.first_sample(shown))

    def interrupted(self) -> None:
        """Says that frames which were sent and not played will not be: none moves playback now."""
        self._runs.clear()
        self._unknown_before, self._known_sample = 0, math.inf

    def begin(self, sample: int) -> None:
        """Says from which sample on the client is played next."""
        self.sample = sample
