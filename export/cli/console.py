"""Where commands write: results to standard output, all else to standard error."""

from rich.console import Console

console = Console(stderr=True)
"""For progress and errors."""
results = Console(highlight=False)
"""For what was asked for."""
