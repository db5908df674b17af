"""Voices that tests name."""

import threading
from collections.abc import Iterator

import numpy as np

RATE_HZ = 8_000
SYLLABLE_S = 1.0
NO_FUNCTION = "a word"

hold = threading.Event()
"""Set, unless a test holds back what comes after the first piece."""
hold.set()


def syllables(text: str) -> tuple[int, Iterator[bytes]]:
    """Says every word as a second of its own noise, in pieces of an odd number of bytes."""
    return RATE_HZ, _syllables(text)


def _syllables(text: str) -> Iterator[bytes]:
    for number, _ in enumerate(text.split()):
        if number:
            assert hold.wait(60)
        yield from _cut(syllable(number))


def syllable(number: int) -> bytes:
    noise = np.random.default_rng(number).integers(-9000, 9000, round(RATE_HZ * SYLLABLE_S))
    return noise.astype("<i2").tobytes()


def _cut(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 3001):
        yield data[start : start + 3001]


def slow_syllables(text: str) -> tuple[int, Iterator[bytes]]:
    assert hold.wait(60)
    return syllables(text)


def broken(_text: str) -> tuple[int, Iterator[bytes]]:
    raise ZeroDivisionError


def silent(_text: str) -> tuple[int, Iterator[bytes]]:
    return RATE_HZ, iter(())
