"""What a client is told beside its results."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notice:
    """A reason to compare with, and the same in words, with the remedy."""

    reason: str
    message: str
