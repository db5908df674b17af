"""Digests of the sources that a module runs: its own and, one import after the other, those below.

What is made by a module stays true as long as its digest does. An import counts wherever it stands
in a file, but for those that only type checkers see.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("export", "server")


def digest(*modules: str) -> str:
    """Returns a digest of some modules, as ``export.onnx.trace``, and of all that they import."""
    made_from = hashlib.sha256()
    for path in closure(*modules):
        made_from.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return made_from.hexdigest()[:16]


def closure(*modules: str) -> list[Path]:
    """Returns the files of modules and of all that they import from this repository, sorted."""
    found: set[Path] = set()
    waiting = list(modules)
    while waiting:
        path = _file(waiting.pop())
        if path is not None and path not in found:
            found.add(path)
            waiting += _imports(path.read_bytes())
    return sorted(found)


def _file(module: str) -> Path | None:
    """Returns a module's file if it is one of ours. A package's own is a docstring: no digest's."""
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return path if module.partition(".")[0] in PACKAGES and path.is_file() else None


@cache
def _imports(source: bytes) -> tuple[str, ...]:
    return tuple(_imported(ast.parse(source)))


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        # What is imported from a package may be a module of it.
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _imported(child)
