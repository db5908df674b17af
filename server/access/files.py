"""Files that may be replaced while the gateway runs: keys and certificates."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

T = TypeVar("T")
Stamps = tuple[tuple[int, int, int], ...]

log = structlog.get_logger()


class AccessFileError(Exception):
    """A file cannot be used; the text is one line for the operator."""


class WatchedFile(Generic[T]):
    """What files hold; read again whenever they have changed.

    One that cannot be used any more changes nothing: what was read last is in force, and the log
    says so once.
    """

    def __init__(self, paths: tuple[Path, ...], read: Callable[[], T]) -> None:
        """Reads the files.

        Raises:
            AccessFileError: they cannot be used.
        """
        self._paths = paths
        self._read = read
        self._stamps = self._now()
        self._held = read()

    def current(self) -> T:
        """Returns what the files hold."""
        self.refresh()
        return self._held

    def refresh(self) -> bool:
        """Reads the files if they have changed; tells whether there is something new."""
        stamps = self._now()
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        names = [str(path) for path in self._paths]
        try:
            self._held = self._read()
        except AccessFileError as error:
            log.warning("a changed file is not used", files=names, problem=str(error))
            return False
        log.info("a changed file is used", files=names)
        return True

    def _now(self) -> Stamps:
        """Returns what a change of the files changes, of whatever they link to."""
        stamps: list[tuple[int, int, int]] = []
        for path in self._paths:
            try:
                about = path.stat()
                stamps.append((about.st_ino, about.st_mtime_ns, about.st_size))
            except OSError:
                stamps.append((0, 0, 0))
        return tuple(stamps)
