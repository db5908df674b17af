"""Fixtures that every test may use."""

from pathlib import Path

import pytest

from tests.support.reference import reference_folder


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder with the numbers of the authors' program."""
    return reference_folder()
