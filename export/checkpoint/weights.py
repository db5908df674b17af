"""A network's weights as they are published or repackaged: one file of tensors, or shards."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import torch
from torch import Tensor

from export.checkpoint.errors import CheckpointError, DamagedError
from export.checkpoint.tensor_file import check_fetched, read_names, read_tensors, readable

INDEX = ".index.json"
"""What the name of a sharded file goes on with."""
SUFFIXES = (".safetensors", ".pth", ".bin", ".pt", ".ckpt")
SHARED = ("visual", "decoder", "wav2vec2")
"""What names begin with by themselves where a file holds that part of a network alone."""
SCALES = (
    *("scale_weight", "weight_scale", "weight_scale_inv", "weight_scale_2", "weight.scale"),
    *("scale_input", "input_scale", "scaled_fp8"),
)
"""How the names of scales end that belong to 8-bit weights."""
FLOATS_IN_8_BITS = (torch.float8_e4m3fn, torch.float8_e5m2)


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One network's tensors.

    Attributes:
        path: the file itself, or the index of its shards.
        fetch: how to get it again, for errors.
    """

    path: Path
    fetch: str

    @property
    def files(self) -> list[Path]:
        """The files that hold the tensors.

        Raises:
            CheckpointError: the index of the shards cannot be read.
        """
        if not self.path.name.endswith(INDEX):
            return [self.path]
        check_fetched(self.path, self.fetch)
        with readable(self.path, self.fetch):
            shards = sorted(set(json.loads(self.path.read_bytes())["weight_map"].values()))
            if any(Path(name).is_absolute() for name in shards):
                raise ValueError("it names files by absolute paths")
            return [self.path.parent / name for name in shards]

    def keys(self) -> list[str]:
        """Returns the names of the tensors, without what wrapped models put before all of them.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        keys = [key for file in self._existing() for key in read_names(file, self.fetch)]
        prefix = len(_prefix(keys))
        return [key[prefix:] for key in keys]

    def tensors(self) -> dict[str, Tensor]:
        """Returns the tensors by name, likewise.

        Raises:
            CheckpointError: a file is missing or damaged, or its weights need scales.
        """
        tensors: dict[str, Tensor] = {}
        for file in self._existing():
            tensors |= read_tensors(file, self.fetch)
        self._check_scales(tensors)
        prefix = len(_prefix(tensors))
        return {key[prefix:]: tensor for key, tensor in tensors.items()}

    def _check_scales(self, tensors: Mapping[str, Tensor]) -> None:
        narrow = sum(tensor.dtype in FLOATS_IN_8_BITS for tensor in tensors.values())
        scales = [key for key in tensors if key.endswith(SCALES)]
        if narrow and scales:
            raise CheckpointError(
                f"{self.path} holds {narrow} tensors in 8 bits with scales beside them "
                f"({scales[0]}); take the weights in 16 or 32 bits, of which `--precision fp8` "
                f"makes its own: {self.fetch}"
            )

    def _existing(self) -> Iterator[Path]:
        for file in self.files:
            if not file.is_file():
                raise DamagedError(f"{file} is missing; {self.path} names it: {self.fetch}")
            yield file


def find_weights(path: Path, fetch: str) -> WeightFile | None:
    """Returns a network's weights by the name they usually have, or under one that ends otherwise.

    Args:
        path: the usual name, which goes first.
        fetch: how to get them, for errors.
    """
    names = [path, *(path.with_suffix(suffix) for suffix in SUFFIXES)]
    candidates = [file for name in names for file in (name, name.with_name(name.name + INDEX))]
    return next((WeightFile(file, fetch) for file in candidates if file.is_file()), None)


def _prefix(keys: Iterable[str]) -> str:
    """Returns what parallel, compiled and wrapped models put before the names of all tensors.

    The networks' own names have no beginning in common.
    """
    columns = zip(*(key.split(".")[:-1] for key in keys), strict=False)
    common = takewhile(lambda parts: len(set(parts)) == 1 and parts[0] not in SHARED, columns)
    return "".join(f"{parts[0]}." for parts in common)
