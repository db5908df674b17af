"""What a conversation has to say, between drawing it and a front end that takes it.

Pictures wait here unencoded, so that nothing is encoded that an interruption drops. They get their
index as they leave, so that what is dropped leaves no gap. When they leave the pacer says.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from echomimic_client.playback import EARLY_S
from server.errors import LimitError
from server.pictures.portrait import Picture
from server.sessions.announcing import Announcer
from server.sessions.events import (
    Answer,
    Blink,
    Event,
    Frame,
    Interrupted,
    Pong,
    UtteranceBegan,
    UtteranceEnded,
)
from server.sessions.idle import Idle
from server.sessions.pacer import Pacer
from server.sessions.playback import Playback
from server.sessions.resumption import Resumable
from server.sessions.speech import Speech

MAX_UNREAD_ANSWERS = 1024
"""Answers to the client's own messages; pictures have a bound of their own."""


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A picture of an utterance, its number counted from the utterance's beginning."""

    speech: Speech
    number: int
    picture: Picture
    blink: Blink | None


class _Mark(Enum):
    """What else stands between pictures and the ends of utterances."""

    END = "nothing follows"


class Outbox:
    """A queue that holds a bounded number of pictures, and the state of what has left it."""

    def __init__(
        self,
        capacity: int,
        pacer: Pacer,
        playback: Playback,
        announcer: Announcer,
        idle: Idle | None = None,
    ) -> None:
        """Begins empty.

        Args:
            capacity: pictures that may wait: a buffer of the pacer's at least.
            pacer: says when pictures may leave.
            playback: told which have left.
            announcer: tells what is to be said as time passes.
            idle: gives frames for between utterances, if there are to be any.
        """
        self._capacity = capacity
        self._pacer = pacer
        self._playback = playback
        self._announcer = announcer
        self._idle = idle
        self._is_speaking = False
        """Whether an utterance has begun to leave, and not ended."""
        self._last_utterance = -1
        """The last one that has begun to leave."""
        self._waiting: deque[_Drawn | Speech | Answer | _Mark] = deque()
        self._pictures = 0
        self._pongs: deque[Pong] = deque()
        self._changed = asyncio.Event()
        self._frames = 0
        self._next_sample = 0

    @property
    def is_empty(self) -> bool:
        """Whether everything has left."""
        return not self._waiting and not self._pongs

    async def picture(
        self, speech: Speech, number: int, picture: Picture, blink: Blink | None = None
    ) -> None:
        """Adds a picture, and what blink is in it; waits while too many wait."""
        while self._pictures >= self._capacity:
            self._changed.clear()
            await self._changed.wait()
        self._pictures += 1
        self._pacer.made()
        self._add(_Drawn(speech, number, picture, blink))

    def ended(self, speech: Speech) -> None:
        """Says that all pictures of an utterance have been added."""
        self._pacer.completed()
        self._add(speech)

    @property
    def slack_s(self) -> float:
        """Seconds that playback can go on for with what has been added; 0 where it waits."""
        return self._pacer.slack_s

    @property
    def next_index(self) -> int:
        """The index of the picture that is added next, if nothing is interrupted."""
        return self._frames + self._pictures

    @property
    def last_index(self) -> int:
        """The index of the last frame that has left; -1 before the first."""
        return self._frames - 1

    def answer(self, answer: Answer) -> None:
        """Adds what no interruption drops.

        Raises:
            LimitError: the client reads none of the answers to what it sends.
        """
        self._check_read()
        self._add(answer)

    def pong(self, pong: Pong) -> None:
        """Adds what goes before all that waits; errors are those of `answer`."""
        self._check_read()
        self._pongs.append(pong)
        self._changed.set()

    def wake(self) -> None:
        """Says that there may be an idle frame."""
        self._changed.set()

    @property
    def last_utterance(self) -> int:
        """The last utterance that has begun to leave; -1 before the first."""
        return self._last_utterance

    def interrupt(self, resumable: Resumable) -> None:
        """Drops the pictures that wait, and says so, and what can be resumed.

        Raises:
            LimitError: the client reads none of the answers to what it sends.
        """
        kept = [item for item in self._waiting if not isinstance(item, (_Drawn, Speech))]
        self._waiting = deque(kept)
        self._pictures = 0
        self._is_speaking = False
        self._pacer.dropped()
        if self._idle is not None:
            self._idle.interrupted(self._frames)
        played = self._playback.last_played(self.last_index)
        self.answer(Interrupted(self.last_index, self._next_sample, played, *resumable))

    def end(self) -> None:
        """Says that nothing follows."""
        self._add(_Mark.END)

    async def events(self) -> AsyncIterator[Event]:
        """Yields what is added until the end, as it is taken."""
        async for event in self._events():
            self._announcer.sent()
            yield event

    async def _events(self) -> AsyncIterator[Event]:
        while True:
            for told in self._news():
                yield told
            hold_s = self._hold_s()
            # Where both are due, speech is: two clocks tell when, in sums of fractions.
            if hold_s > EARLY_S:
                idle_s = self._idle_s()
                if self._idle is not None and idle_s <= 0:
                    self._frames += 1
                    yield await self._idle.frame(self._frames - 1, self._next_sample)
                else:
                    rest_s = min(self._pacer.rest_s, self._announcer.rest_s)
                    # One may have come while something else was sent.
                    if not self._pongs:
                        await self._until_changed(min(hold_s, idle_s, rest_s))
                continue
            item = self._waiting.popleft()
            match item:
                case _Drawn():
                    self._pictures -= 1
                    self._pacer.left()
                    self._changed.set()
                    # Before it is told, so that an interruption meanwhile finds it sent.
                    frame = self._frame(item)
                    if item.number == 0:
                        self._is_speaking, self._last_utterance = True, item.speech.number
                        begins = item.speech.first_sample
                        yield UtteranceBegan(item.speech.number, frame.index, begins)
                    yield frame if self._idle is None else await self._idle.spoken(frame)
                case Speech():
                    self._is_speaking = False
                    ends = item.first_sample + item.samples
                    yield UtteranceEnded(item.number, self._frames - 1, ends)
                case _Mark.END:
                    return
                case _:
                    yield item

    def _news(self) -> Iterator[Event]:
        """Yields what goes before all that waits."""
        while self._pongs:
            yield self._pongs.popleft()
        yield from self._pacer.news()
        yield from self._announcer.news(self._next_sample)

    def _hold_s(self) -> float:
        """Returns seconds until what is next may leave; infinity where nobody knows yet."""
        if not self._waiting:
            return math.inf
        return self._pacer.hold_s if isinstance(self._waiting[0], _Drawn) else 0.0

    def _idle_s(self) -> float:
        """Returns seconds until an idle frame is due; infinity where none is to be."""
        if self._idle is None or self._is_speaking:
            return math.inf
        return self._idle.due_s(self._frames)

    async def _until_changed(self, timeout_s: float) -> None:
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(None if math.isinf(timeout_s) else timeout_s):
                await self._changed.wait()

    def _frame(self, drawn: _Drawn) -> Frame:
        speech, index = drawn.speech, self._frames
        self._frames += 1
        self._next_sample = speech.sample_of(drawn.number + 1)
        self._playback.left(index, drawn.number, speech.first_sample, self._next_sample)
        sample = speech.sample_of(drawn.number)
        return Frame(index, speech.number, sample, drawn.picture, blink=drawn.blink)

    def _check_read(self) -> None:
        if len(self._waiting) - self._pictures + len(self._pongs) >= MAX_UNREAD_ANSWERS:
            problem = f"{MAX_UNREAD_ANSWERS} answers have not been read; read while you write"
            raise LimitError("max_unread_answers", problem)

    def _add(self, item: _Drawn | Speech | Answer | _Mark) -> None:
        self._waiting.append(item)
        self._changed.set()
