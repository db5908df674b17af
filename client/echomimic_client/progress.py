"""A progress bar of frames, on standard error where that is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def frame_bar(total: int | None, *, is_shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Shows a bar while the block runs; gives a function that takes the frames done so far.

    Args:
        total: frames there will be; None where nobody knows yet.
        is_shown: whether there is a bar.
    """
    console = Console(stderr=True)
    columns = (TextColumn("frames"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not (is_shown and console.is_terminal)
    ) as progress:
        task = progress.add_task("frames", total=total)
        yield lambda done: progress.update(task, completed=done)
