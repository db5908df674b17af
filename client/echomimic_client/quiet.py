"""No words of libraries on the user's terminal."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2


@contextmanager
def silent_libraries() -> Iterator[None]:
    """Drops what anybody in this process writes to standard error while the block runs.

    C libraries write there by themselves: the MP3 decoder inside libsndfile does. For programs, not
    for services, whose other threads would fall silent too.
    """
    terminal = os.dup(STDERR)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDERR)
    try:
        yield
    finally:
        os.dup2(terminal, STDERR)
        os.close(nowhere)
        os.close(terminal)
