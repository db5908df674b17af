"""Pages of docs/ that are made from tables in the code say what the tables say."""

import re
from types import ModuleType

import pytest

from tests.reports import errors, markdown, metrics, settings
from tests.reports.reliability import TRACK_RECORD
from tests.support.paths import ROOT


@pytest.mark.parametrize(
    ("name", "report"), [("errors", errors), ("metrics", metrics), ("settings", settings)]
)
def test_a_page_is_what_its_script_writes(name: str, report: ModuleType) -> None:
    written = (markdown.DOCS / f"{name}.md").read_text()
    assert written == markdown.page(name, *report.page()), f"run python -m tests.reports.{name}"


@pytest.mark.parametrize("command", [command for _, _, command in TRACK_RECORD])
def test_the_track_record_names_tests_that_there_are(command: str) -> None:
    file, _, word = command.partition(" -k ")
    names = re.findall(r"def (test_\w+)", (ROOT / file).read_text())
    assert any(word in name for name in names)
