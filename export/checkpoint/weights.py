"""Files of weights as they are published: safetensors, whole or in shards, and pickles of tensors.

Tensors are mapped into memory rather than read, so a large file costs nothing until it is used.
Pickles are read with torch's ``weights_only``: they cannot run code.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from export.errors import ExportError

INDEX = ".index.json"
"""What the name of a sharded file goes on with."""
PICKLES = (".pth", ".bin", ".pt")
DAMAGES = (
    SafetensorError,
    UnpicklingError,
    RuntimeError,
    ValueError,
    KeyError,
    EOFError,
    OSError,
)
"""What a damaged file raises when it is read: there is no common error."""
NAMED = 3
"""How many keys an error names; the others it counts."""


class CheckpointError(ExportError):
    """The checkpoint cannot be used; the text is one line that says what and why."""


class CheckpointMismatchError(CheckpointError):
    """The tensors of a checkpoint are not those of the network."""


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One network's tensors; ``path`` is the file itself, or the index of its shards."""

    path: Path

    @property
    def files(self) -> list[Path]:
        """The files that hold the tensors.

        Raises:
            CheckpointError: the index of the shards cannot be read.
        """
        if not self.path.name.endswith(INDEX):
            return [self.path]
        with _readable(self.path):
            shards = json.loads(self.path.read_text())["weight_map"].values()
            return [self.path.parent / name for name in sorted(set(shards))]

    def keys(self) -> list[str]:
        """Returns the names of the tensors.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        keys: list[str] = []
        for file in self._existing():
            with _readable(file):
                if file.suffix in PICKLES:
                    keys += _unpickled(file)
                else:
                    with safe_open(file, framework="pt") as tensors:
                        keys += tensors.keys()
        return keys

    def tensors(self) -> dict[str, Tensor]:
        """Returns the tensors by name.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        tensors: dict[str, Tensor] = {}
        for file in self._existing():
            with _readable(file):
                tensors |= _unpickled(file) if file.suffix in PICKLES else load_file(file)
        return tensors

    def _existing(self) -> Iterator[Path]:
        for file in self.files:
            if not file.is_file():
                raise CheckpointError(f"{file} is missing; {self.path} names it")
            yield file


def find_weights(path: Path) -> WeightFile | None:
    """Returns a network's weights by the name they usually have: whole, in shards, or pickled."""
    candidates = [path, path.with_name(path.name + INDEX), *map(path.with_suffix, PICKLES)]
    return next((WeightFile(file) for file in candidates if file.is_file()), None)


def load_strictly(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    public_key: Callable[[str], str] = lambda key: key,
) -> None:
    """Gives a module its tensors, all of them and no others, without a copy.

    Args:
        module: built on the meta device.
        tensors: by the module's own keys; those that it does not know, by their public ones.
        public_key: from a key of the module to the checkpoint's, for the error.

    Raises:
        CheckpointMismatchError: a tensor is missing, unknown or of another shape.
    """
    expected = module.state_dict()
    both = [key for key in expected if key in tensors]
    shapes = [
        f"{public_key(key)} has shape {list(tensors[key].shape)}, not {list(expected[key].shape)}"
        for key in both
        if tensors[key].shape != expected[key].shape
    ]
    problems = [
        _listed("missing", [public_key(key) for key in expected if key not in tensors]),
        _listed("unknown", [key for key in tensors if key not in expected]),
        _listed("of another shape", shapes),
    ]
    if any(problems):
        raise CheckpointMismatchError("; ".join(filter(None, problems)))
    module.load_state_dict(tensors, strict=True, assign=True)


def _listed(problem: str, names: Iterable[str]) -> str:
    # Some layers of ours are parts of one tensor of theirs.
    names = list(dict.fromkeys(names))
    if not names:
        return ""
    more = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} {problem}: {', '.join(names[:NAMED])}{more}"


def _unpickled(file: Path) -> dict[str, Tensor]:
    content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    # As training programs save it.
    return content.get("state_dict", content)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turns what a damaged file raises into one line."""
    try:
        yield
    except DAMAGES as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{file} cannot be read: {reason}") from error
