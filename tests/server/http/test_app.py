"""Health, the OpenAPI page and its examples, where it listens, and that it is optional."""

import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from server.api.listener import ListenError
from server.http.app import make_app
from server.http.examples import render_examples
from server.http.listener import HttpListener
from tests.support.fake_engine import FakeEngine
from tests.support.http import by_http
from tests.support.paths import ROOT
from tests.support.serving import served, small_windows


@asynccontextmanager
async def site(folder: Path, *, works: bool = True) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        served(FakeEngine(), folder, small_windows()) as grpc,
        by_http(grpc, lambda: works) as http,
    ):
        yield http


@pytest.mark.parametrize("works", [True, False])
async def test_readiness_is_that_of_the_tritons(tmp_path: Path, works: bool) -> None:
    async with site(tmp_path, works=works) as http:
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz")).status_code == (200 if works else 503)


async def test_a_server_that_goes_down_is_not_ready(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows()) as grpc, by_http(grpc) as http:
        await grpc.gateway.admission.close(0)
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/x", 404), ("GET", "/render", 405)]
)
async def test_what_is_not_there_is_a_problem(
    tmp_path: Path, method: str, path: str, status: int
) -> None:
    async with site(tmp_path) as http:
        answer = await http.request(method, path)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code == status


async def test_the_page_describes_every_path(tmp_path: Path) -> None:
    async with site(tmp_path) as http:
        assert "swagger" in (await http.get("/docs")).text
        described = (await http.get("/openapi.json")).json()
    paths = {"/render", "/v1/animate", "/v1/portraits/check", "/v1/speech", "/healthz", "/readyz"}
    paths |= {"/v1/avatars", "/v1/avatars/{avatar_id}"}
    assert set(described["paths"]) == paths
    shown = described["paths"]["/render"]["post"]["requestBody"]["content"]
    assert shown["application/json"]["examples"] == render_examples()
    assert set(shown) == {"application/json", "multipart/form-data"}


@pytest.mark.parametrize("name", render_examples())
async def test_every_example_works(tmp_path: Path, name: str) -> None:
    async with site(tmp_path) as http:
        answer = await http.post("/render", json=render_examples()[name]["value"])
    assert answer.status_code == 200, answer.text
    assert answer.json()["frame"]


async def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    settings = small_windows()
    async with served(FakeEngine(), tmp_path, settings) as grpc:
        app = make_app(grpc.gateway, lambda: True)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            expected = f"cannot listen for HTTP on 127.0.0.1:{port}: Address already in use$"
            with pytest.raises(ListenError, match=expected):
                HttpListener(app, settings, port)


def test_whoever_wants_no_http_does_not_wait_for_it() -> None:
    code = "import sys, server.__main__; print({'fastapi', 'uvicorn'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout == "set()\n"
