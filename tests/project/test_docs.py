"""What the documentation points at is there."""

import re
from pathlib import Path

import pytest

from tests.reports.containers import containers
from tests.support.paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\((?!https?://)([^)#]*)(#[^)]*)?\)")
NAMED = re.compile(r"`((?:server|export|client|tests|protos|docs)/[\w./-]*)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), f"{target} is missing"
        if anchor:
            assert anchor in anchors(linked), f"{target} has no {anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    named = NAMED.findall(page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_readme_links_every_page() -> None:
    linked = {target for target, _ in LINK.findall((ROOT / "README.md").read_text())}
    pages = {str(page.relative_to(ROOT)) for page in PAGES} - {"README.md"}
    assert pages - linked == set()


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {"#" + re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_page_of_engines_has_the_containers() -> None:
    page = (ROOT / "docs" / "tensorrt.md").read_text()
    assert [part for part in containers() if part not in page] == []


def test_the_readme_has_rows_of_that_table() -> None:
    """Its table says the same as the page's, of fewer containers."""
    page = (ROOT / "docs" / "tensorrt.md").read_text().splitlines()
    lines = (ROOT / "README.md").read_text().splitlines()
    head = next(n for n, line in enumerate(lines) if line.startswith("| container |"))
    rows = lines[head : lines.index("", head)]
    assert len(rows) > 5
    assert [row for row in rows if row not in page] == []
