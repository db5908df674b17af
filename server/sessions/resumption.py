"""What an interruption drops, and how it is brought back.

audio that comes -> kept -> interrupted: from the end of what was played on -> said again
"""

from collections.abc import Sequence
from typing import NamedTuple

from server.sessions.events import ResumeRefused
from server.sessions.kept import KeptAudio, Piece
from server.sessions.playback import Playback

NOTHING_INTERRUPTED = ResumeRefused(
    "NOTHING_INTERRUPTED",
    "nothing that was interrupted is left: send `resume` after `interrupt`, once",
)
NEW_AUDIO = ResumeRefused(
    "NEW_AUDIO",
    "what was sent after the interruption has begun another utterance: send `resume` before that",
)


class Resumable(NamedTuple):
    """The sample that what can be resumed begins with, and how many there are."""

    first_sample: int
    samples: int


class Dropped(NamedTuple):
    """What an interruption has dropped, as far as it is kept."""

    pieces: Sequence[Piece]
    place: tuple[int, int, int]
    """The first sample, the one after the last, and how many after that are not kept."""


class Resumption:
    """Keeps what may be resumed, until the next audio begins another utterance."""

    def __init__(self, kept: KeptAudio, playback: Playback) -> None:
        """Begins with nothing said."""
        self._kept = kept
        self._playback = playback
        self._received = 0
        """Samples of the conversation's audio so far."""
        self._lost = range(0)
        """What was not kept of what was resumed, and is never played."""
        self._is_broken_off = False
        """Whether nothing was said since an interruption."""
        self._refusal: ResumeRefused | None = NOTHING_INTERRUPTED

    def heard(self, data: bytes, samples: int) -> None:
        """Says that audio has come, in the client's format."""
        if self._is_broken_off:
            self._is_broken_off = False
            self._refusal = NEW_AUDIO
            self._kept.clear()
            self._playback.begin(self._received)
        self._kept.add(data, self._received, self._begins)
        self._received += samples

    def ended(self) -> None:
        """Says that the utterance is over."""
        self._kept.ended()

    def interrupted(self) -> Resumable:
        """Says that what has not been sent is dropped; returns what can be resumed."""
        begins = self._begins
        self._playback.interrupted()
        self._playback.begin(begins)
        self._kept.forget(begins)
        self._is_broken_off = True
        kept = self._kept.end - begins if self._kept.start == begins else 0
        if begins == self._received:
            self._refusal = NOTHING_INTERRUPTED
        elif kept <= 0:
            self._kept.clear()
            self._refusal = _not_kept(begins)
        else:
            self._refusal = None
        return Resumable(begins, max(0, kept))

    def resume(self) -> Dropped | ResumeRefused:
        """Returns what is to be said again, or why nothing is."""
        if self._refusal is not None:
            return self._refusal
        self._is_broken_off = False
        self._refusal = NOTHING_INTERRUPTED
        self._lost = range(self._kept.end, self._received)
        if self._lost:
            # What is sent next has another place in the audio, so it is another utterance.
            self._kept.ended()
        place = self._kept.start, self._kept.end, len(self._lost)
        return Dropped(self._kept.pieces, place)

    @property
    def _begins(self) -> int:
        """Where what has not been played begins."""
        played = self._playback.sample
        return self._lost.stop if self._lost and played == self._lost.start else played


def _not_kept(begins: int) -> ResumeRefused:
    message = (
        f"the audio from sample {begins} on was not kept, since more was sent ahead than "
        "`max_resumable_audio`: send it again"
    )
    return ResumeRefused("NOT_KEPT", message)
