"""A release is one version everywhere."""

import re
import subprocess
import tomllib

from tests.support.paths import ROOT

PROJECTS = (ROOT / "pyproject.toml", ROOT / "client" / "pyproject.toml")
(VERSION,) = {tomllib.loads(path.read_text())["project"]["version"] for path in PROJECTS}


def test_the_changelog_tells_of_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## \[(\d[^\]]*)\]", changelog, re.MULTILINE)
    coming = re.findall(r"^Will be (\d+\.\d+\.\d+)", changelog, re.MULTILINE)
    assert VERSION in (*released[:1], *coming)


def test_a_tag_is_the_version_that_it_marks() -> None:
    command = ["git", "tag", "--points-at", "HEAD", "v*"]
    tags = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert set(tags.split()) <= {f"v{VERSION}"}
