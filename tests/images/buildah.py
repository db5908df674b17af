"""Images by buildah, as root, by chroot alone.

Layers are plain folders (vfs), unless buildah's own variable STORAGE_DRIVER names another driver.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.images import pip_settings

PYTHON_IMAGE, TRITON_IMAGE = "localhost/python-stand-in", "localhost/tritonserver-stand-in"
"""What stands in for the official bases."""


@dataclass(frozen=True)
class Config:
    """What an image says about how it is run."""

    environment: dict[str, str]
    entrypoint: list[str]
    command: list[str]
    user: str
    folder: str
    health: list[str]


@dataclass(frozen=True)
class Buildah:
    """Its storage, below one folder."""

    folder: Path

    def run(self, *words: str | Path, log: Path | None = None) -> str:
        """Runs a command of buildah's; returns what it prints. A log gets all of a failed one."""
        driver = os.environ.get("STORAGE_DRIVER", "vfs")
        places = ("--root", self.folder / "storage", "--runroot", self.folder / "run")
        done = subprocess.run(
            ("buildah", "--storage-driver", driver, *places, *words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if log else subprocess.PIPE,
            text=True,
        )
        if log:
            log.write_text(done.stdout)
        tail = (done.stdout + (done.stderr or ""))[-3000:]
        assert done.returncode == 0, f"buildah {words[0]} failed ({log}):\n{tail}"
        return done.stdout.strip()

    def build(self, name: str, dockerfile: Path, context: Path, *words: str) -> None:
        """Builds a Dockerfile on the stand-ins, with this machine's settings of pip."""
        options = pip_settings.settings()
        secret = self.folder / "pip.conf"
        secret.write_text(pip_settings.as_file(options))
        places = [path for path in pip_settings.places(options) if path.exists()]
        self.run(
            *("build", "--isolation", "chroot", "--network", "host", "--pull-never"),
            *("--format", "docker", "--secret", f"id=pip,src={secret}"),
            *(f"--volume={path}:{path}:ro" for path in places),
            f"--build-arg=PYTHON_IMAGE={PYTHON_IMAGE}",
            f"--build-arg=TRITON_IMAGE={TRITON_IMAGE}",
            *(*words, "--tag", f"localhost/{name}", "--file", dockerfile, context),
            log=self.folder / f"{name.replace(':', '-')}.log",
        )

    def config(self, name: str) -> Config:
        """Returns what an image says about how it is run."""
        inspected = json.loads(self.run("inspect", "--type", "image", f"localhost/{name}"))
        said: dict[str, Any] = inspected["Docker"]["config"]
        return Config(
            environment=dict(variable.split("=", 1) for variable in said["Env"]),
            entrypoint=said.get("Entrypoint") or [],
            command=said.get("Cmd") or [],
            user=said.get("User") or "0:0",
            folder=said.get("WorkingDir") or "/",
            health=said.get("Healthcheck", {}).get("Test", []),
        )

    @contextmanager
    def mounted(self, name: str) -> Iterator[Path]:
        """Gives the files of a container of an image."""
        container = self.run("from", "--pull-never", f"localhost/{name}")
        try:
            yield Path(self.run("mount", container))
        finally:
            self.run("rm", container)


def base(buildah: Buildah) -> None:
    """Makes the stand-in of Docker's python:3.11-slim-bookworm out of Debian's packages.

    Debian's Python is put where the official image has its own.
    """
    tar = buildah.folder / "debian.tar"
    packages = "ca-certificates,python3,python3-venv,libpython3.11"
    subprocess.run(
        ("mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", "bookworm", tar),
        check=True,
        env=os.environ | {"TMPDIR": str(buildah.folder)},
    )
    container = buildah.run("from", "scratch")
    buildah.run("add", "--quiet", container, tar, "/")
    tar.unlink()
    move = (
        "cp -a /usr/bin/python3.11 /usr/local/bin/ && ln -s python3.11 /usr/local/bin/python3 &&"
        "cp -a /usr/lib/python3.11 /usr/local/lib/ &&"
        "cp -L /usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0 /usr/local/lib/"
    )
    buildah.run("run", "--isolation", "chroot", container, "--", "sh", "-c", move)
    buildah.run("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", container)
    buildah.run("commit", "--rm", "--quiet", container, PYTHON_IMAGE)
