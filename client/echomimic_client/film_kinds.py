"""The kinds of films, by names; what makes them is in `echomimic_client.films`."""

from pathlib import Path
from typing import Literal

FilmKind = Literal["mp4", "fragmented_mp4", "webm", "gif"]
"""A fragmented MP4 can be played while it comes; a GIF has no sound."""
BY_SUFFIX: dict[str, FilmKind] = {".mp4": "mp4", ".webm": "webm", ".gif": "gif"}


def kind_of(path: Path) -> FilmKind:
    """Returns the kind of film that a file's name asks for.

    Raises:
        ValueError: it asks for none.
    """
    kind = BY_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path} names no film; end it with {', '.join(BY_SUFFIX)}")
    return kind
