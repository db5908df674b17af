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
    """Returns a line that says on which commit something is measured; pages do not change that.

    Raises:
        CalledProcessError: this is no clone of the repository.
    """
    commit = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    return f"Measured at commit {commit}{', with changes' if changed else ''}."


def write(name: str, script: str, *parts: str) -> None:
    """Writes a page of docs/."""
    (DOCS / name).write_text(page(script, *parts))


def write_measured(name: str, script: str, title: str, *parts: str) -> None:
    """Writes a page that is not made at every commit, and therefore says at which it was."""
    write(name, script, title, measured_at(), *parts)


def _git(*arguments: str) -> str:
    ran = subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    return ran.stdout.strip()
