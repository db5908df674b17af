"""Why Triton did not start. Each is one line that says what to do about it.

TritonStartError
|- InstallationError      the environment that should hold tritonserver is not complete
|- EngineMissingError     a model in the repository has not been exported
|- PlansElsewhereError    the repository holds plans of a TensorRT that is not here
|- PortInUseError         another process listens on a port that was asked for
|- ModelLoadError         Triton gave up on a model
|- StartupExitError       Triton ended before it was ready, for another reason
`- StartupTimeoutError    Triton was not ready in time
"""

from dataclasses import dataclass
from pathlib import Path


class TritonStartError(Exception):
    """Triton cannot be started."""


@dataclass(eq=False)
class InstallationError(TritonStartError):
    """The environment that should hold tritonserver is not complete."""

    missing: str
    remedy: str

    def __str__(self) -> str:
        return f"Triton cannot be started: {self.missing}; {self.remedy}"


@dataclass(eq=False)
class EngineMissingError(TritonStartError):
    """A model in the repository has not been exported."""

    missing: str
    repository: Path

    def __str__(self) -> str:
        return (
            f"{self.repository} lacks {self.missing}; write it with "
            f"`python -m export onnx CHECKPOINT_DIR --repository {self.repository}`"
        )


@dataclass(eq=False)
class PlansElsewhereError(TritonStartError):
    """The repository holds plans of a TensorRT that is not here."""

    repository: Path
    built: str
    here: str | None
    remedy: str

    def __str__(self) -> str:
        has = f"is TensorRT {self.here}" if self.here else "is no TensorRT"
        return (
            f"{self.repository} holds plans of TensorRT {self.built}, and here {has}; {self.remedy}"
        )


@dataclass(eq=False)
class PortInUseError(TritonStartError):
    """Another process listens on a port that was asked for."""

    port: int
    service: str

    def __str__(self) -> str:
        return (
            f"port {self.port} for Triton's {self.service} is in use; "
            "stop what listens there, or ask for another port (0 takes a free one)"
        )


@dataclass(eq=False)
class ModelLoadError(TritonStartError):
    """Triton gave up on a model."""

    model: str
    reason: str
    log_path: Path

    def __str__(self) -> str:
        return f"Triton cannot load {self.model}: {self.reason} (log: {self.log_path})"


@dataclass(eq=False)
class StartupExitError(TritonStartError):
    """Triton ended before it was ready."""

    returncode: int
    last_line: str
    log_path: Path

    @property
    def is_crash(self) -> bool:
        """Whether a signal has ended it, and not Triton itself, which would do so again."""
        return self.returncode < 0

    def __str__(self) -> str:
        return (
            f"Triton ended with status {self.returncode} before it was ready: "
            f"{self.last_line} (log: {self.log_path})"
        )


@dataclass(eq=False)
class StartupTimeoutError(TritonStartError):
    """Triton was not ready in time and has been killed."""

    deadline_s: float
    log_path: Path

    def __str__(self) -> str:
        return f"Triton was not ready within {self.deadline_s:g} s (log: {self.log_path})"
