"""`demo-media`: whom the demo shows, and what is said."""

from pathlib import Path
from typing import Annotated

import typer

from export.cli.console import console


def demo_media(
    folder: Annotated[Path, typer.Argument(help="Folder for portrait.png and speech.wav.")],
) -> None:
    """Draw the demo's portrait and speak its speech; no training has seen or heard them."""
    from export.demo.media import write_media

    write_media(folder)
    console.print(f"wrote {folder}")
