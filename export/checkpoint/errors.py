"""What can be wrong with a checkpoint."""

from collections.abc import Sequence

from export.errors import ExportError


class CheckpointError(ExportError):
    """The checkpoint cannot be used; the text is one line that says what and why."""


class MissingError(CheckpointError):
    """A file is not there."""


class DamagedError(CheckpointError):
    """A file is there in part, or something else is in its place: its download failed."""


class CheckpointMismatchError(CheckpointError):
    """The tensors of a checkpoint are not those of the network."""


class CheckpointProblemsError(CheckpointError):
    """Several things are wrong with a checkpoint, one a line."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
