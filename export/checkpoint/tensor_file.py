"""One file of tensors: safetensors, or a pickle in either of torch's two forms.

Told by what is in it, not by its name, as what stands in its place where a download went wrong.
Tensors are mapped into memory rather than read, so that a large file costs nothing until it is
used; only pickles from before torch 1.6 have to be read. Pickles are loaded with torch's
``weights_only``: they cannot run code.
"""

import re
import struct
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from export.checkpoint.errors import CheckpointError, DamagedError

HEAD_BYTES = 512
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
SAFETENSORS_LENGTH_BYTES = 8
"""What precedes the header of a safetensors file, which is JSON."""
POINTER = b"version https://git-lfs"
MARKS = (
    (b"<!doctype", "is a web page, not the file: {fetch}"),
    (b"<html", "is a web page, not the file: {fetch}"),
    (b"<?xml", "is an answer in XML, not the file: {fetch}"),
    (b"gguf", "is a GGUF file; safetensors or pickles are needed: {fetch}"),
)
"""How files begin that stand in the place of others."""
DAMAGES = (
    SafetensorError,
    UnpicklingError,
    RuntimeError,
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
    TypeError,
    EOFError,
    OSError,
    struct.error,
)
"""What a damaged file raises when it is read: there is no common error."""
NAMED = 3
FOREIGN = re.compile(r"GLOBAL (\S+)")
"""In what torch says of a pickle with more in it than tensors and plain values: of which class."""


def read_tensors(file: Path, fetch: str) -> dict[str, Tensor]:
    """Returns the tensors of a file by name.

    Args:
        file: which.
        fetch: how to get it again, for the error.

    Raises:
        CheckpointError: it is damaged, or holds something else.
    """
    kind = _kind(file, fetch)
    with readable(file, fetch):
        if kind == "safetensors":
            return load_file(file)
        content = _unpickled(file, mapped=kind == "zip")
    return _state_dict(file, content)


def read_names(file: Path, fetch: str) -> list[str]:
    """Returns the names of a file's tensors; arguments and errors as for `read_tensors`."""
    if _kind(file, fetch) != "safetensors":
        return list(read_tensors(file, fetch))
    with readable(file, fetch), safe_open(file, framework="pt") as tensors:
        return list(tensors.keys())


def check_fetched(file: Path, fetch: str) -> bytes:
    """Returns the first bytes of a file that is not what a failed download leaves.

    Raises:
        CheckpointError: it is; or it cannot be opened.
    """
    with readable(file, fetch), file.open("rb") as opened:
        head = opened.read(HEAD_BYTES)
    if (control := file.with_name(f"{file.name}.aria2")).is_file():
        # Such downloads have their whole length from the start.
        raise DamagedError(f"{file} is an unfinished download, since {control} is there: {fetch}")
    if not head:
        raise DamagedError(f"{file} is empty: {fetch}")
    begins = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if begins.startswith(POINTER):
        # A clone without its large files: nobody asked for this one yet.
        raise CheckpointError(
            f"{file} is a Git LFS pointer, not the file: `git lfs pull` or {fetch}"
        )
    for mark, problem in MARKS:
        if begins.startswith(mark):
            raise DamagedError(f"{file} {problem.format(fetch=fetch)}")
    return head


@contextmanager
def readable(file: Path, fetch: str) -> Generator[None]:
    """Turns what a damaged file raises into one line."""
    try:
        yield
    except DAMAGES as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DamagedError(f"{file} cannot be read: {reason}; {fetch} again") from error


def _kind(file: Path, fetch: str) -> Literal["safetensors", "zip", "pickle"]:
    head = check_fetched(file, fetch)
    length = int.from_bytes(head[:SAFETENSORS_LENGTH_BYTES], "little")
    if head[SAFETENSORS_LENGTH_BYTES:].startswith(b"{") and length < file.stat().st_size:
        return "safetensors"
    if head.startswith(ZIP):
        return "zip"
    if head.startswith(PICKLE):
        return "pickle"
    raise CheckpointError(f"{file} is neither a safetensors file nor a pickle of tensors: {fetch}")


def _unpickled(file: Path, *, mapped: bool) -> Any:
    try:
        # What torch warns of is refused with a line of ours.
        with warnings.catch_warnings(action="ignore"):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except UnpicklingError as error:
        foreign = FOREIGN.search(str(error))
        if foreign is None:
            raise
        raise CheckpointError(
            f"{file} holds a {foreign[1]}, which is not loaded since it could run code; save the "
            f"state_dict alone"
        ) from error


def _state_dict(file: Path, content: Any) -> dict[str, Tensor]:
    """Takes tensors by name out of a pickle, where training programs put steps and more beside.

    They are the pickle itself or lie one level down, under any name; counters are left out.
    """
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise CheckpointError(f"{file} holds a {kind}, not tensors by name; save its state_dict")
    below = {name: inner for name, value in content.items() if (inner := _named(value))}
    own = _named(content)
    # Losses and steps are saved as tensors, too.
    if below and all(tensor.ndim == 0 for tensor in own.values()):
        own = {}
    if len(below) + bool(own) != 1:
        names = [*map(str, below), *(["tensors beside them"] if own else [])]
        found = f"several sets of tensors ({', '.join(names[:NAMED])})" if names else "no tensors"
        raise CheckpointError(f"{file} holds {found}; save one state_dict, names to tensors")
    return own or next(iter(below.values()))


def _named(value: Any) -> dict[str, Tensor]:
    if not isinstance(value, Mapping):
        return {}
    return {k: t for k, t in value.items() if isinstance(k, str) and isinstance(t, Tensor)}
