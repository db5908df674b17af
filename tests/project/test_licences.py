"""Which licences packages of the gateway may have."""

import json
import tomllib

import pytest

from tests.reports import markdown
from tests.reports.licences import EXCEPTIONS, Package, allowed, problems, read
from tests.support.paths import ROOT

KNOWN = [Package(name, "1", licence) for name, (licence, _) in EXCEPTIONS.items()]


@pytest.mark.parametrize(
    ("licence", "may"),
    [
        ("MIT", True),
        ("BSD License", True),
        ("MIT OR Apache-2.0", True),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("GPL-3.0-or-later OR MIT", True),
        ("(MIT OR GPL-2.0-only) AND BSD-3-Clause", True),
        ("MIT AND GPL-3.0-or-later", False),
        ("MPL-2.0", False),
        ("UNKNOWN", False),
        ("Other/Proprietary License", False),
        ("", False),
    ],
)
def test_what_asks_for_more_than_to_be_named_is_not_allowed(licence: str, may: bool) -> None:
    assert allowed(licence) == may


def test_what_may_not_be_there_is_named() -> None:
    packages = [*KNOWN, Package("new", "1.0", "UNKNOWN"), Package("good", "2.0", "MIT")]
    assert list(problems(packages)) == ["new 1.0 has the licence UNKNOWN"]


def test_an_exception_that_nothing_needs_is_named() -> None:
    assert list(problems(KNOWN[1:])) == [f"{KNOWN[0].name} is an exception, and is not installed"]


def test_what_the_program_tells_is_read() -> None:
    told = [
        {"License": "MIT", "Name": "a", "Version": "1"},
        {"License": "Apache-2.0", "Name": "echomimic-server", "Version": "0.1.0"},
    ]
    assert read(json.dumps(told)) == [Package("a", "1", "MIT")]


def test_the_page_has_what_the_gateway_asks_for() -> None:
    page = (markdown.DOCS / "licences.md").read_text().lower().replace("_", "-")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [
        *project["dependencies"],
        *(each for extra in ("server", "mp4", "heic", "voice") for each in extras[extra]),
    ]
    names = [each.partition("==")[0].partition("[")[0] for each in asked]
    assert [name for name in names if f"| {name} |" not in page] == [], "run make licences"
