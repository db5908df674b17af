"""Tables and pages."""

import subprocess
from collections.abc import Iterable, Sequence

from tests.support.paths import ROOT

DOCS = ROOT / "docs"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def page(script: str, title: str, *parts: str) -> str:
    """Returns a page, which says which script made it."""
    made = f"Made by `python -m tests.reports.{script}`; do not edit."
    return "\n\n".join([f"# {title}", made, *parts]) + "\n"


def measured_at() -> str:
    """Returns a line that says on which commit a page is made, for what is not made at every one.

    Raises:
        CalledProcessError: this is no clone of the repository.
    """
    described = ["git", "describe", "--always", "--dirty=, with changes", "--exclude=*"]
    commit = subprocess.run(described, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return f"Measured at commit {commit.stdout.strip()}."


def write(name: str, script: str, *parts: str) -> None:
    """Writes a page of docs/."""
    (DOCS / name).write_text(page(script, *parts))
