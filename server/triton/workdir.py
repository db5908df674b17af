"""The directory that a Triton of our own runs in, and what is left in shared memory.

Both are removed in the end, but a gateway that is killed removes nothing, so the next one does. It
must take nothing from a gateway that lives: each holds a lock on its directory, and on a marker in
shared memory, which the kernel lets go when the process ends in whatever way. A process number
would prove less: containers may share directories and memory, but not processes. The marker is for
whoever runs elsewhere, or where the directory has gone.
"""

import fcntl
import os
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from tempfile import mkdtemp

import structlog

SHARED_MEMORY = Path("/dev/shm")
PREFIX, MARKER = "triton-", ".lock"
OF_GATEWAYS = f"{PREFIX}gateway-"

log = structlog.get_logger()


@contextmanager
def working_directory(runtime_dir: Path) -> Generator[Path]:
    """Makes a directory, and removes it and the shared memory that is named after it in the end.

    Those of processes that were killed are removed first.
    """
    runtime_dir.mkdir(parents=True, exist_ok=True)
    # Nobody must find the new places before they are locked.
    with _locked(runtime_dir), _locked(SHARED_MEMORY):
        _remove_left(runtime_dir.glob(f"{PREFIX}*/"))
        workdir = Path(mkdtemp(prefix=PREFIX, dir=runtime_dir))
        marker = SHARED_MEMORY / f"{workdir.name}{MARKER}"
        marker.touch()
        held = [_lock(place, fcntl.LOCK_EX) for place in (workdir, marker)]
    try:
        yield workdir
    finally:
        for place in (workdir, marker):
            _remove(place)
        for descriptor in held:
            os.close(descriptor)


@contextmanager
def regions_name() -> Generator[str]:
    """Gives what names of this process's own regions begin with, and removes them in the end.

    Those of processes that were killed are removed first.

    Raises:
        OSError: there is no shared memory.
    """
    with _locked(SHARED_MEMORY):
        _remove_left(())
        marker = SHARED_MEMORY / f"{OF_GATEWAYS}{os.getpid()}-{token_hex(8)}{MARKER}"
        marker.touch()
        held = _lock(marker, fcntl.LOCK_EX)
    try:
        yield marker.stem
    finally:
        _remove(marker)
        os.close(held)


def ownerless(region: str) -> bool:
    """Whether a name is that of a region of a gateway that has ended."""
    owner = region.rpartition("-")[0]
    return owner.startswith(OF_GATEWAYS) and not (SHARED_MEMORY / f"{owner}{MARKER}").exists()


def regions(place: Path) -> list[Path]:
    """Returns the shared memory that is named after a directory, or belongs to a marker."""
    return list(SHARED_MEMORY.glob(f"{place.stem}-*"))


def _remove_left(directories: Iterable[Path]) -> None:
    for place in [*directories, *SHARED_MEMORY.glob(f"{PREFIX}*{MARKER}")]:
        # What lives is locked, some is not ours to touch, and some another gateway removes.
        with (
            suppress(BlockingIOError, PermissionError, FileNotFoundError),
            _locked(place, fcntl.LOCK_EX | fcntl.LOCK_NB),
        ):
            left = len(regions(place))
            log.info("a killed gateway left this behind", place=str(place), regions=left)
            _remove(place)


def _remove(place: Path) -> None:
    for region in regions(place):
        region.unlink(missing_ok=True)
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


@contextmanager
def _locked(place: Path, kind: int = fcntl.LOCK_EX) -> Generator[None]:
    held = _lock(place, kind)
    try:
        yield
    finally:
        os.close(held)


def _lock(place: Path, kind: int) -> int:
    """Returns the descriptor that holds the lock; no child process inherits it."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, kind)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
