"""What a user can mend, in one line."""

from collections.abc import Generator
from contextlib import contextmanager

import typer

from export.cli.console import console
from export.errors import ExportError


@contextmanager
def one_line_errors() -> Generator[None]:
    """Prints what is wrong with a command's input and ends it with status 1."""
    # Late, as what a command needs: pydantic takes a while, which `--help` need not wait for.
    from server.manifest import ManifestError
    from server.triton.errors import PlansElsewhereError

    try:
        yield
    except (ExportError, ManifestError, PlansElsewhereError, OSError) as error:
        for line in str(error).splitlines():
            console.print(
                f"error: {line}", style="red", highlight=False, soft_wrap=True, markup=False
            )
        raise typer.Exit(1) from error
