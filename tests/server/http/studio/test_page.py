"""What is served of the page, and with which headers."""

import re
from pathlib import Path

import pytest

from client.demo.media import PORTRAIT
from server.http.studio import FOLDER, MEDIA_TYPES
from tests.support.fake_engine import FakeEngine
from tests.support.http import by_http
from tests.support.serving import served, small_windows

PORTRAIT_BYTES = PORTRAIT.read_bytes()
SCRIPTS = sorted(FOLDER.glob("*.mjs"))


async def test_the_page_and_its_files_are_served_with_strict_headers(tmp_path: Path) -> None:
    async with (
        served(FakeEngine(), tmp_path, small_windows()) as grpc,
        by_http(grpc) as http,
    ):
        page = await http.get("/")
        named = re.findall(r'(?:src|href)="(studio/[^"]+)"', page.text)
        assert sorted(named) == ["studio/studio.css", "studio/studio.mjs"]
        answers = [page, *[await http.get(f"/studio/{path.name}") for path in SCRIPTS]]
        answers += [await http.get(f"/{name}") for name in named]
        for answer in answers:
            assert answer.status_code == 200
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self';")
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert answers[-1].headers["content-type"] == "text/javascript; charset=utf-8"


async def test_nothing_else_of_the_folder_is_served(tmp_path: Path) -> None:
    async with (
        served(FakeEngine(), tmp_path, small_windows()) as grpc,
        by_http(grpc) as http,
    ):
        for name in ("__init__.py", "__pycache__/", "", "absent.mjs", "%2e%2e/app.py", "x" * 999):
            answer = await http.get(f"/studio/{name}")
            assert answer.status_code == 404
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await http.post("/studio/studio.mjs")).status_code == 405


@pytest.mark.parametrize("path", ["/", "/studio/studio.mjs", "/studio/portrait"])
async def test_the_page_can_be_switched_off(tmp_path: Path, path: str) -> None:
    async with (
        served(FakeEngine(), tmp_path, small_windows(studio=False)) as grpc,
        by_http(grpc) as http,
    ):
        assert (await http.get(path)).status_code == 404


@pytest.mark.parametrize("path", [None, PORTRAIT])
async def test_it_begins_with_the_default_portrait(tmp_path: Path, path: Path | None) -> None:
    expected = b"" if path is None else PORTRAIT_BYTES
    async with (
        served(FakeEngine(), tmp_path, small_windows(default_portrait=path)) as grpc,
        by_http(grpc) as http,
    ):
        answer = await http.get("/studio/portrait")
    assert answer.status_code == (200 if path else 204)
    assert answer.content == expected


def test_scripts_load_nothing_from_elsewhere() -> None:
    for path in (*SCRIPTS, FOLDER / "index.html", FOLDER / "studio.css"):
        text = path.read_text().replace("http://127.0.0.1", "")
        assert not re.search(r"https?://|//cdn|@import|url\(", text), path.name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_import_is_a_file_that_is_served(path: Path) -> None:
    text = path.read_text()
    names = [*re.findall(r'from "\./([^"]+)"', text), *re.findall(r'URL\("([\w-]+\.mjs)"', text)]
    assert [name for name in names if not (FOLDER / name).exists()] == []
    assert path.suffix in MEDIA_TYPES
