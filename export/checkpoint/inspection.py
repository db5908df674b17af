"""What a checkpoint folder holds, found out without reading its weights."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from export.checkpoint.layout import Checkpoint


@dataclass(frozen=True, slots=True)
class Found:
    """One network's file of weights."""

    network: str
    files: tuple[Path, ...]
    dtypes: tuple[str, ...]
    """The most frequent first."""
    tensors: int
    parameters: int
    size_bytes: int


def found_networks(checkpoint: Checkpoint) -> list[Found]:
    """Returns what is found, the largest first.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    found = [_found(checkpoint, name, path) for name, path in checkpoint.networks.items()]
    return sorted(found, key=lambda network: -network.size_bytes)


def _found(checkpoint: Checkpoint, network: str, path: Path) -> Found:
    weights = checkpoint.weights(path)
    tensors = weights.tensors().values()
    dtypes: Counter[str] = Counter()
    for tensor in tensors:
        dtypes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    return Found(
        network=network,
        files=tuple(file.relative_to(checkpoint.root) for file in weights.files),
        dtypes=tuple(dtype for dtype, _ in dtypes.most_common()),
        tensors=len(tensors),
        parameters=sum(dtypes.values()),
        size_bytes=sum(file.stat().st_size for file in weights.files),
    )
