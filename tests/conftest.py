"""Fixtures that every test may use, and the order of the tests."""

import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.reference import reference_folder


def pytest_configure() -> None:
    """Lets ctrl-c be heard in a shell that runs the tests in the background, and ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the slow tests first, so that no process is left alone with one in the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


settings.register_profile("long")
"""Of the fuzz tests; see `tests.support.fuzzing`."""


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder with the numbers of the authors' program."""
    return reference_folder()
