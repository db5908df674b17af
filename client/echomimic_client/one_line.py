"""How commands end where something fails."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from echomimic_client.errors import ClientError


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the program with a line on standard error where something fails.

    Ctrl-C ends it quietly, with status 130, as typer does by itself.
    """
    try:
        yield
    except (ClientError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
