"""An image, run as its own user in namespaces of its own but for the network's, root read-only."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from tests.images.buildah import Buildah, Config

ENTER = Path(__file__).with_name("enter.sh")
START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 90.0
T = TypeVar("T")


@dataclass(frozen=True)
class Container:
    """One that runs. ``first`` is the process that is number 1 inside."""

    root: Path
    config: Config
    environment: Mapping[str, str]
    unshared: subprocess.Popen[str]
    first: psutil.Process
    log: Path

    @property
    def said(self) -> str:
        """What it has written so far."""
        return self.log.read_text()

    def processes(self, tell: Callable[[psutil.Process], T]) -> list[T]:
        """Returns what is told of each process that number 1 has begun."""
        told: list[T] = []
        for process in self.first.children(recursive=True):
            # Some end meanwhile, as what asks after its health.
            with suppress(psutil.NoSuchProcess):
                told.append(tell(process))
        return told

    def execute(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a program beside the others, as `docker exec` does."""
        inside = ["nsenter", "--target", str(self.first.pid), "--mount", "--pid"]
        root = ["chroot", f"--userspec={self.config.user}", "--groups=", str(self.root)]
        command = [*inside, *root, *program(self.config, self.environment), *words]
        return subprocess.run(command, capture_output=True, text=True)

    def healthy(self) -> bool:
        """Asks the image's own health check."""
        kind, *words = self.config.health
        assert kind == "CMD"
        return self.execute(*words).returncode == 0

    def terminate(self) -> int:
        """Ends it as `docker stop` does; returns the exit status."""
        self.first.terminate()
        return self.unshared.wait(STOP_TIMEOUT_S)


def program(config: Config, environment: Mapping[str, str]) -> list[str]:
    """Returns what gives a program the image's variables and folder."""
    variables = [f"{name}={value}" for name, value in environment.items()]
    return ["/usr/bin/env", "-i", "-C", config.folder, *variables]


@contextmanager
def running(
    buildah: Buildah,
    image: str,
    log: Path,
    *words: str,
    mounts: Mapping[Path, str] | None = None,
    variables: Mapping[str, str] | None = None,
    shared_memory: str = "size=2g",
) -> Iterator[Container]:
    """Runs an image as `docker run --read-only` does; it is killed in the end.

    Args:
        buildah: has it.
        image: its name.
        log: gets what it writes.
        words: in place of the image's own command.
        mounts: folders of this machine, read-only, by where they are seen inside.
        variables: of the environment.
        shared_memory: the size of /dev/shm, or a folder to take for it.
    """
    config = buildah.config(image)
    shm = shared_memory.removeprefix("size=")
    with buildah.mounted(image) as root, log.open("w") as output:
        seen = [f"{source}:{target}" for source, target in (mounts or {}).items()]
        environment = {**config.environment, **(variables or {})}
        command = [*config.entrypoint, *(words or config.command)]
        unshared = subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--ipc", "--uts", "--fork"),
                *(ENTER, root, config.user, shm, *seen, "--"),
                *program(config, environment),
                *command,
            ],
            stdout=output,
            stderr=output,
            text=True,
        )
        try:
            children = psutil.Process(unshared.pid).children
            until(children, "nothing was started")
            (first,) = children()
            try:
                yield Container(root, config, environment, unshared, first, log)
            finally:
                # With number 1 the kernel ends all others inside.
                with suppress(psutil.NoSuchProcess):
                    first.kill()
        finally:
            unshared.wait()


def until(condition: Callable[[], object], what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Waits for something, and fails with ``what`` if it does not come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
