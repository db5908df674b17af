"""`make studio`: what it says, what it opens, how it ends."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import typer

from client.demo import studio
from client.demo.media import PORTRAIT
from tests.support.gateway_process import TRITON_VENV, free_port
from tests.support.paths import ROOT


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Pages that were opened; the gateway listens, and ends after the page was shown."""
    pages: list[str] = []

    @contextmanager
    def gateway(_repository: Path, _venv: Path, _log: Path, *words: str) -> Iterator[str]:
        port = int(words[words.index("--http-port") + 1])
        assert words[words.index("--default-portrait") + 1] == str(PORTRAIT)
        with socket.create_server((studio.LOOPBACK, port)) as listening:
            monkeypatch.setattr(studio.time, "sleep", lambda _: listening.close())
            yield "127.0.0.1:1"

    monkeypatch.setattr(studio, "running_gateway", gateway)
    monkeypatch.setattr(studio.webbrowser, "open", pages.append)
    monkeypatch.setattr(studio, "LOG", tmp_path / "studio.log")
    monkeypatch.setattr(studio.signal, "signal", lambda *_: None)
    return pages


@pytest.mark.parametrize("display", ["", ":0"])
def test_the_page_is_named_and_opened_where_there_is_a_display(
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    display: str,
) -> None:
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    port = free_port()
    with pytest.raises(typer.Exit):
        studio.main(Path("models"), Path("venv"), port)
    url = f"http://127.0.0.1:{port}/"
    said = capsys.readouterr()
    assert url in said.out
    assert opened == ([url] if display else [])
    assert "the gateway has ended" in said.err


def test_a_port_that_is_taken_is_named_before_anything_starts(
    opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server((studio.LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(typer.Exit):
            studio.main(Path("models"), Path("venv"), port)
    assert f"port {port} is taken" in capsys.readouterr().err
    assert opened == []


@pytest.mark.slow
def test_it_serves_the_page_until_it_is_told_to_end() -> None:
    port = free_port()
    command = [sys.executable, "-m", "client.demo.studio", f"--port={port}"]
    command += [f"--repository={ROOT / 'export/demo/model_repository'}"]
    command += [f"--triton-venv={TRITON_VENV}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        (url,) = re.findall(r"http://\S+", process.stdout.readline())
        page = httpx2.get(url)
        portrait = httpx2.get(f"{url}studio/portrait")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert "<title>Studio" in page.text
    assert portrait.content == PORTRAIT.read_bytes()
    assert not studio.is_served(port)
