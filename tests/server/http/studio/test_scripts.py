"""The page's clockwork, by itself, in Node."""

import shutil
import subprocess
from pathlib import Path

import pytest

NODE = shutil.which("node")
TESTS = sorted(Path(__file__).parent.glob("*.test.mjs"))


@pytest.mark.skipif(NODE is None, reason="no node on the PATH")
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_page_keeps_time_and_words(path: Path) -> None:
    run = subprocess.run(
        [str(NODE), "--test", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "# pass 0" not in run.stdout
