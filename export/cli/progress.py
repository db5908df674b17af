"""Progress on the terminal, stage by stage."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from export.cli.console import console


class Stages(Protocol):
    """Told of every stage as it begins, or of what came of it; see `export.repository.exporter`."""

    def __call__(self, stage: str, *, result: bool = False) -> None:
        """Takes a line for the operator."""


def bar() -> Progress:
    """Returns a bar on standard error."""
    columns = (SpinnerColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    return Progress(*columns, console=console)


@contextmanager
def progress(stages: int) -> Generator[Stages]:
    """Lends a report that moves a bar on by one of so many stages."""
    with bar() as shown:
        task = shown.add_task("starting", total=stages)

        def report(stage: str, *, result: bool = False) -> None:
            shown.update(task, description=stage, advance=1)
            if result:
                shown.console.print(stage, highlight=False)

        yield report
