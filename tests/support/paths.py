"""Where things lie in a checkout."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = ROOT / "build" / "tiny" / "checkpoint"
"""Random weights in the public layout, which `make test` makes before the tests."""
TINY_REPOSITORY = ROOT / "build" / "tiny" / "model_repository"
"""Their export, which `make test` makes too."""
