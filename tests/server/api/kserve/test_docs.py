"""What docs/api.md shows of KServe, runs."""

import asyncio
import re
import sys
from pathlib import Path

from client.demo.media import PORTRAIT, SPEECH
from tests.support.fake_engine import FakeEngine
from tests.support.paths import ROOT
from tests.support.serving import served, small_windows

PAGE = (ROOT / "docs" / "api.md").read_text()
ADDRESS = "127.0.0.1:50051"
FRAMES = 207
"""Of the demo's speech."""


async def test_the_example_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert ADDRESS in code
    (tmp_path / "me.png").write_bytes(PORTRAIT.read_bytes())
    (tmp_path / "speech.wav").write_bytes(SPEECH.read_bytes())
    async with served(FakeEngine(), tmp_path, small_windows()) as server:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code.replace(ADDRESS, server.address)),
            cwd=tmp_path,
            env={"GRPC_VERBOSITY": "NONE"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await program.communicate()
    assert program.returncode == 0, errors.decode()
    assert len(output.splitlines()) == FRAMES
