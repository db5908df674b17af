"""NVIDIA's tritonserver where its container has it, with the backends that it brings."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from server import memory
from server.triton.installation import TritonInstallation, has_option, without_python
from server.triton.plans import TENSORRT_VARIABLE


class Installation(Protocol):
    """A tritonserver that can be started."""

    @property
    def python(self) -> Path:
        """An interpreter to launch it with."""
        ...

    @property
    def tritonserver(self) -> Path:
        """The program."""
        ...

    def knows(self, option: str) -> bool:
        """Whether it has an option. It asks it, so it blocks."""
        ...

    def assemble_backends(self, directory: Path) -> None:
        """Makes its backend directory."""
        ...

    def environment(self) -> dict[str, str]:
        """The environment variables that it needs."""
        ...


@dataclass(frozen=True, slots=True)
class ContainerTriton:
    """The Triton in a folder of the container, as /opt/tritonserver."""

    folder: Path

    @property
    def python(self) -> Path:
        """The gateway's own interpreter: this Triton's has nothing that a launch needs."""
        return Path(sys.executable)

    @property
    def tritonserver(self) -> Path:
        """The program."""
        return self.folder / "bin" / "tritonserver"

    @property
    def tensorrt(self) -> str | None:
        """The version of the container's TensorRT, which the container says itself."""
        return os.environ.get(TENSORRT_VARIABLE) or None

    def knows(self, option: str) -> bool:
        """Whether tritonserver has an option. It asks it, so it blocks."""
        return has_option(self.tritonserver, option, self.environment())

    def assemble_backends(self, directory: Path) -> None:
        """Takes the backends as they are, onnxruntime and tensorrt among them."""
        directory.symlink_to(self.folder.absolute() / "backends")

    def environment(self) -> dict[str, str]:
        """Ours, which has what the container sets, but for variables of our Python."""
        return without_python(os.environ) | memory.ENVIRONMENT


def find_triton(place: Path) -> Installation:
    """Finds the Triton in a folder of NVIDIA's, or in an environment with the one from PyPI.

    It asks the environment's Python, so it blocks.

    Raises:
        InstallationError: something is missing; it says what, and the remedy.
    """
    return container_triton(place) or TritonInstallation.find(place)


def container_triton(place: Path) -> ContainerTriton | None:
    """Returns the Triton of a container, if the folder is one of those."""
    triton = ContainerTriton(place)
    return triton if triton.tritonserver.is_file() else None
