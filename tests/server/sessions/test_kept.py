"""Audio that is kept as it came, up to a bound."""

from server.audio.pcm import AudioFormat
from server.sessions.kept import KeptAudio

RATE = 8_000
STEREO = AudioFormat("s16le", RATE, 2)


def samples(first: int, count: int) -> bytes:
    """Samples of four bytes that tell their position."""
    return b"".join(n.to_bytes(4, "little") for n in range(first, first + count))


def kept(max_samples: int = 100, max_utterances: int = 4) -> KeptAudio:
    return KeptAudio(STEREO, max_samples / RATE, max_utterances)


def test_utterances_are_kept_apart_and_audio_is_as_it_came() -> None:
    audio = kept()
    audio.add(samples(0, 10), 0, 0)
    audio.add(samples(10, 5), 10, 0)
    audio.ended()
    audio.add(samples(15, 5), 15, 0)
    assert [(p.first_sample, bytes(p.data), p.is_ended) for p in audio.pieces] == [
        (0, samples(0, 15), True),
        (15, samples(15, 5), False),
    ]
    audio.forget(12)
    assert (audio.start, audio.end) == (12, 20)
    assert bytes(audio.pieces[0].data) == samples(12, 3)
    audio.forget(15)
    assert [piece.first_sample for piece in audio.pieces] == [15]
    audio.forget(20)
    assert audio.pieces == []


def test_what_was_played_makes_room_and_nothing_else_does() -> None:
    audio = kept(100)
    audio.add(samples(0, 90), 0, 0)
    audio.add(samples(90, 30), 90, 50)
    assert (audio.start, audio.end) == (50, 120)
    audio.add(samples(120, 80), 120, 50)
    assert (audio.start, audio.end) == (50, 150)
    # There is a gap before what comes now.
    audio.add(samples(200, 1), 200, 60)
    assert (audio.start, audio.end) == (60, 150)
    audio.add(samples(201, 9), 201, 150)
    assert (audio.start, audio.end) == (201, 210)
    assert bytes(audio.pieces[0].data) == samples(201, 9)


def test_more_than_the_bound_at_once_is_kept_up_to_it() -> None:
    audio = kept(100)
    audio.add(samples(0, 1_000), 0, 0)
    assert (audio.start, audio.end) == (0, 100)


def test_utterances_are_bounded_too() -> None:
    audio = kept(100, max_utterances=4)
    for at in range(10):
        audio.add(samples(at, 1), at, 1)
        audio.ended()
    assert [piece.first_sample for piece in audio.pieces] == [1, 2, 3, 4]


def test_a_bound_of_nothing_keeps_nothing() -> None:
    audio = kept(0)
    audio.add(samples(0, 5), 0, 0)
    assert audio.pieces == []
