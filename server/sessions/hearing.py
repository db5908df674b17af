"""What is said in a conversation, utterance by utterance, until it is drawn.

    audio -> the utterance that goes on -> those that wait -> whoever draws
    what an interruption has dropped -/

Audio is taken at once, so that whatever else the client says is heard behind it; what waits is
bounded, and refused beyond.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from fractions import Fraction

from server.audio.clock import MODEL_RATE_HZ
from server.audio.pcm import AudioFormat
from server.audio.timeline import AudioBudget
from server.errors import LimitError
from server.recorder import Recorder
from server.sessions.events import Answer, Expiring, Resumed, ResumeRefused
from server.sessions.report import Report
from server.sessions.resumption import Resumption
from server.sessions.speech import AudioLimits, Speech

MAX_WAITING_UTTERANCES = 256


class Hearing:
    """Takes a client's speech, and hands it on one utterance after the other."""

    def __init__(
        self,
        audio_format: AudioFormat,
        frame_rate: Fraction,
        limits: AudioLimits,
        report: Report,
        resumption: Resumption,
        recorder: Recorder,
        tell: Callable[[Answer], None],
    ) -> None:
        """Begins with nothing said.

        Args:
            audio_format: how its bytes are to be read.
            frame_rate: of the frames that are shown.
            limits: on the audio.
            report: counts it.
            resumption: keeps what may have to be said again.
            recorder: told how much of it waits.
            tell: tells the client.
        """
        self._audio_format = audio_format
        self._frame_rate = frame_rate
        self._limits = limits
        self._report = report
        self._resumption = resumption
        self._tell = tell
        self._budget = AudioBudget(
            int(limits.max_buffered_s * MODEL_RATE_HZ),
            lambda samples: recorder.audio_waiting(samples / MODEL_RATE_HZ),
        )
        self._is_told_of_the_limit = False
        self._goes_on: Speech | None = None
        self._utterances = 0
        self._waiting: deque[Speech | None] = deque()
        self._added = asyncio.Event()

    @property
    def is_waiting(self) -> bool:
        """Whether an utterance, or the end, waits."""
        return bool(self._waiting)

    @property
    def waiting(self) -> list[Speech]:
        """The utterances that wait."""
        return [speech for speech in self._waiting if speech is not None]

    @property
    def next_number(self) -> int:
        """The number of the utterance that is handed on next."""
        waiting = self._waiting[0] if self._waiting else None
        return self._utterances if waiting is None else waiting.number

    @property
    def next_begun(self) -> int:
        """The number of the utterance that begins next."""
        return self._utterances

    async def push(self, data: bytes, *, field: str) -> None:
        """Takes PCM; it begins an utterance where none goes on.

        Raises:
            InvalidFieldError: the bytes are no samples of the format.
            LimitError: the audio, or what of it waits, gets too long.
        """
        if self._goes_on is None:
            self._goes_on = self._begin()
        before = self._report.audio_samples
        await self._goes_on.push(data, field=field)
        self._resumption.heard(data, self._report.audio_samples - before)
        self._tell_of(self._goes_on)
        self._tell_of_the_limit()

    async def end_utterance(self) -> None:
        """Says that the utterance is over; does nothing where none goes on."""
        if self._goes_on is not None:
            await self._goes_on.finish()
            self._resumption.ended()
            self._tell_of(self._goes_on)
        self._goes_on = None

    async def end(self) -> None:
        """Says that nothing more will be said."""
        await self.end_utterance()
        self._add(None)

    def interrupt(self) -> None:
        """Drops what is said so far; what is said next is another utterance."""
        self._goes_on = None
        self.drop()

    async def resume(self, *, field: str) -> None:
        """Says again what an interruption has dropped; `Resumed` or `ResumeRefused` answers it.

        Raises:
            InvalidFieldError: from there on it begins as a file does.
        """
        dropped = self._resumption.resume()
        if isinstance(dropped, ResumeRefused):
            self._tell(dropped)
            return
        self._tell(Resumed(self._utterances, *dropped.place))
        for piece in dropped.pieces:
            speech = self._begin(piece.first_sample)
            await speech.push_again(bytes(piece.data), field=field)
            if piece.is_ended:
                await speech.finish()
            else:
                self._goes_on = speech

    def drop(self) -> None:
        """Drops the audio of the utterances that wait."""
        for speech in self.waiting:
            speech.timeline.drop()
        self._waiting.clear()

    async def next(self) -> Speech | None:
        """Returns the next utterance once it has begun; None after the end."""
        while not self._waiting:
            self._added.clear()
            await self._added.wait()
        return self._waiting.popleft()

    def _begin(self, first_sample: int | None = None) -> Speech:
        if len(self._waiting) >= MAX_WAITING_UTTERANCES:
            problem = f"{MAX_WAITING_UTTERANCES} utterances wait to be drawn"
            raise LimitError("max_waiting_utterances", problem)
        speech = Speech(
            self._utterances,
            self._audio_format,
            self._report,
            self._limits,
            self._budget,
            self._frame_rate,
            first_sample,
        )
        self._utterances += 1
        self._add(speech)
        return speech

    def _add(self, speech: Speech | None) -> None:
        self._waiting.append(speech)
        self._added.set()

    def _tell_of(self, speech: Speech) -> None:
        for notice in speech.notices():
            self._tell(notice)

    def _tell_of_the_limit(self) -> None:
        longest_s = self._limits.max_audio_s
        remaining_s = longest_s - self._report.audio_s
        if not self._is_told_of_the_limit and remaining_s <= self._limits.told_s:
            self._is_told_of_the_limit = True
            message = f"a stream may have {longest_s:g} s of audio; open another one"
            self._tell(Expiring("MAX_STREAM_AUDIO", remaining_s, message))
