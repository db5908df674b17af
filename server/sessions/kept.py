"""Audio that is kept as the client sent it, since it may have to be said again."""

from collections import deque
from dataclasses import dataclass

from server.audio.pcm import AudioFormat


@dataclass(slots=True)
class Piece:
    """What is kept of an utterance.

    Attributes:
        first_sample: position in the conversation's audio.
        data: PCM in the client's format.
        is_ended: whether the utterance is over.
    """

    first_sample: int
    data: bytearray
    is_ended: bool = False


class KeptAudio:
    """Keeps audio that follows each other, up to a bound; what came when it was full is not kept.

    Positions are samples of the conversation's audio.
    """

    def __init__(self, audio_format: AudioFormat, max_s: float, max_utterances: int) -> None:
        """Begins with nothing.

        Args:
            audio_format: of the bytes.
            max_s: how much is kept at most, in seconds.
            max_utterances: of how many utterances.
        """
        self._sample_bytes = audio_format.bytes_per_sample
        self._max_samples = int(max_s * audio_format.sample_rate_hz)
        self._max_utterances = max_utterances
        self._pieces: deque[Piece] = deque()

    @property
    def pieces(self) -> list[Piece]:
        """What is kept, an utterance each."""
        return list(self._pieces)

    @property
    def start(self) -> int:
        """Where it begins; 0 where nothing is kept."""
        return self._pieces[0].first_sample if self._pieces else 0

    @property
    def end(self) -> int:
        """Where it ends; 0 where nothing is kept."""
        return self._end_of(self._pieces[-1]) if self._pieces else 0

    def add(self, data: bytes, at: int, needed_from: int) -> None:
        """Keeps what there is room for of audio that has come.

        Args:
            data: whole samples.
            at: their position, which nothing that came before has.
            needed_from: what lies before is forgotten where room is needed.
        """
        samples = len(data) // self._sample_bytes
        if at != self.end or samples > self._room:
            self.forget(needed_from)
        if self._pieces and at != self.end:
            return
        if taken := data[: max(0, self._room) * self._sample_bytes]:
            if not self._pieces or self._pieces[-1].is_ended:
                self._pieces.append(Piece(at, bytearray()))
            self._pieces[-1].data += taken

    def ended(self) -> None:
        """Says that the utterance whose audio came last is over."""
        if self._pieces:
            self._pieces[-1].is_ended = True

    def forget(self, before: int) -> None:
        """Forgets what lies before a position."""
        while self._pieces and self._end_of(self._pieces[0]) <= before:
            self._pieces.popleft()
        if self._pieces and (samples := before - self.start) > 0:
            del self._pieces[0].data[: samples * self._sample_bytes]
            self._pieces[0].first_sample = before

    def clear(self) -> None:
        """Forgets all of it."""
        self._pieces.clear()

    @property
    def _room(self) -> int:
        begins = not self._pieces or self._pieces[-1].is_ended
        if begins and len(self._pieces) >= self._max_utterances:
            return 0
        return self._max_samples - (self.end - self.start)

    def _end_of(self, piece: Piece) -> int:
        return piece.first_sample + len(piece.data) // self._sample_bytes
