"""The OpenAPI page, which loads nothing from elsewhere, and the metrics."""

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest

from server.access.access import Access
from server.access.keys import Keys
from server.app import _recording  # pyright: ignore[reportPrivateUsage]
from server.metrics import Metrics
from server.recorder import SILENT, Recorder
from tests.support.browser import chromium_page, needs_chromium
from tests.support.fake_engine import FakeEngine
from tests.support.http import by_http
from tests.support.serving import served, small_windows


@asynccontextmanager
async def site(
    folder: Path, recorder: Recorder = SILENT, access: Access | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        served(FakeEngine(), folder, small_windows(), recorder=recorder, access=access) as grpc,
        by_http(grpc) as http,
    ):
        yield http


async def test_what_the_page_loads_is_the_gateways_own(tmp_path: Path) -> None:
    async with site(tmp_path) as http:
        page = (await http.get("/docs")).text
        loaded = re.findall(r"(?:src|href)=\"([^\"]*)\"", page)
        kinds = {url.rpartition(".")[2] for url in loaded}
        assert {"js", "css"} <= kinds
        for url in loaded:
            assert urljoin("http://here/docs", url).startswith("http://here/"), url
            assert (await http.get(url)).status_code == 200
        assert (await http.get("/redoc")).status_code == 404
    assert "://" not in page
    # Elsewhere than on the machine itself it would show an outside service where it is.
    assert '"validatorUrl": null' in page


@needs_chromium
async def test_the_page_is_drawn_without_a_network(tmp_path: Path) -> None:
    asked: list[str] = []
    async with site(tmp_path) as http, chromium_page() as page:
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(str(http.base_url.join("/docs")))
        await page.wait_for_selector("#operations-default-animate_v1_animate_post")
        await page.wait_for_load_state("networkidle")
        assert "EchoMimic gateway" in await page.inner_text("h1, h2")
        own = str(http.base_url)
    assert any(url.endswith("openapi.json") for url in asked)
    assert [url for url in asked if not url.startswith((own, "data:"))] == []


async def test_metrics_are_served_where_anything_is_measured(tmp_path: Path) -> None:
    async with site(tmp_path, Metrics("1.2.3", "flash")) as http:
        answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'echomimic_build_info{variant="flash",version="1.2.3"} 1.0' in answer.text
    async with site(tmp_path) as http:
        assert (await http.get("/metrics")).status_code == 404


@pytest.mark.parametrize(
    ("permission", "status", "reason"),
    [("info", 200, ""), ("animate", 403, "PERMISSION_DENIED"), ("", 401, "UNAUTHENTICATED")],
)
async def test_metrics_are_for_who_may_ask_what_the_server_is(
    tmp_path: Path, permission: str, status: int, reason: str
) -> None:
    keys = tmp_path / "keys.toml"
    digest = hashlib.sha256(b"em_monitor").hexdigest()
    allowed = permission or "info"
    keys.write_text(
        f'[[key]]\nname = "monitor"\nsha256 = "{digest}"\npermissions = ["{allowed}"]\n'
    )
    headers = {"authorization": "Bearer em_monitor"} if permission else {}
    async with site(tmp_path, Metrics("", ""), Access(Keys(keys))) as http:
        answer = await http.get("/metrics", headers=headers)
    assert answer.status_code == status
    if reason:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["reason"] == reason
        assert "echomimic_" not in answer.text


@pytest.mark.parametrize(("ports", "measures"), [({}, False), ({"http_port": 0}, True)])
def test_a_gateway_with_http_measures(ports: dict[str, int], measures: bool) -> None:
    with _recording(small_windows(**ports), "flash") as recorder:
        assert isinstance(recorder, Metrics) == measures
