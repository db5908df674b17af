"""Modules built around the tensors of a checkpoint."""

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, nn

from export.checkpoint.errors import CheckpointMismatchError

NAMED = 3
"""How many keys an error names; the others it counts."""


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
