"""What docs/http.md shows, runs."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.fake_engine import FakeEngine
from tests.support.http import by_http, wav
from tests.support.paths import ROOT
from tests.support.serving import portrait, served, small_windows, speech

PAGE = (ROOT / "docs" / "http.md").read_text()
ADDRESS = "127.0.0.1:9000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """A gateway; the folder has the files that the page names."""
    (tmp_path / "me.jpg").write_bytes(portrait(kind="JPEG"))
    (tmp_path / "speech.wav").write_bytes(wav(speech(8_000)))
    (tmp_path / "speech.pcm").write_bytes(speech(8_000).tobytes())
    settings = small_windows(http_audio_folder=tmp_path)
    async with served(FakeEngine(), tmp_path, settings) as grpc, by_http(grpc) as http:
        yield f"{http.base_url.host}:{http.base_url.port}"


async def run(folder: Path, *command: str) -> str:
    """Runs a program while this loop serves it; returns what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return printed.decode()


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_works(command: str, address: str, tmp_path: Path) -> None:
    assert command.startswith("curl ")
    assert ADDRESS in command
    await run(tmp_path, "sh", "-c", command.replace(ADDRESS, address))
    assert (tmp_path / command.split()[-1]).stat().st_size > 1000


@pytest.mark.parametrize("number", range(len(blocks("python"))))
async def test_every_python_example_works(number: int, address: str, tmp_path: Path) -> None:
    code = blocks("python")[number]
    assert ADDRESS in code
    assert await run(tmp_path, sys.executable, "-c", code.replace(ADDRESS, address))
