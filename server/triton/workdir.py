"""The directory that a Triton of our own runs in, and what it leaves in shared memory.

Both are removed in the end, but a gateway that is killed removes nothing, so the next one does. It
must take nothing from a gateway that lives: each holds a lock on its directory, which the kernel
lets go when the process ends in whatever way. A process number would prove less: containers may
share directories and memory, but not processes.
"""

import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import structlog

SHARED_MEMORY = Path("/dev/shm")
PREFIX = "triton-"

log = structlog.get_logger()


@contextmanager
def working_directory(runtime_dir: Path) -> Generator[Path]:
    """Makes a directory, and removes it and the shared memory that is named after it in the end.

    Those of processes that were killed are removed first.
    """
    runtime_dir.mkdir(parents=True, exist_ok=True)
    # Nobody must find the new directory before it is locked.
    with _locked(runtime_dir):
        _remove_left(runtime_dir)
        workdir = Path(mkdtemp(prefix=PREFIX, dir=runtime_dir))
        held = _lock(workdir, fcntl.LOCK_EX)
    try:
        yield workdir
    finally:
        _remove(workdir)
        os.close(held)


def regions(workdir: Path) -> list[Path]:
    """Returns the shared memory that is named after a directory."""
    return list(SHARED_MEMORY.glob(f"{workdir.name}-*"))


def _remove_left(runtime_dir: Path) -> None:
    for workdir in runtime_dir.glob(f"{PREFIX}*/"):
        try:
            with _locked(workdir, fcntl.LOCK_EX | fcntl.LOCK_NB):
                left = regions(workdir)
                log.info(
                    "removing what a killed gateway left", folder=str(workdir), regions=len(left)
                )
                _remove(workdir)
        except BlockingIOError:
            continue


def _remove(workdir: Path) -> None:
    for region in regions(workdir):
        region.unlink(missing_ok=True)
    shutil.rmtree(workdir)


@contextmanager
def _locked(directory: Path, kind: int = fcntl.LOCK_EX) -> Generator[None]:
    held = _lock(directory, kind)
    try:
        yield
    finally:
        os.close(held)


def _lock(directory: Path, kind: int) -> int:
    """Returns the descriptor that holds the lock; no child process inherits it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, kind)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
