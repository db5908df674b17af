"""Pages of docs/ that are made from tables in the code say what the tables say."""

from types import ModuleType

import pytest

from tests.reports import errors, markdown, metrics, settings


@pytest.mark.parametrize(
    ("name", "report"), [("errors", errors), ("metrics", metrics), ("settings", settings)]
)
def test_a_page_is_what_its_script_writes(name: str, report: ModuleType) -> None:
    written = (markdown.DOCS / f"{name}.md").read_text()
    assert written == markdown.page(name, *report.page()), f"run python -m tests.reports.{name}"
