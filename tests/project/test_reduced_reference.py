"""A clone without the reference still checks the maths, on the numbers that live beside it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.reference import REDUCED

MATHS = (
    "server/animation/test_samplers.py",
    "server/animation/test_guidance.py",
    "server/animation/test_teacache.py",
    "server/pictures/test_prepost.py",
    "export/models/test_text_encoder.py",
)
MAX_BYTES = 3_000_000


def test_it_is_small_and_holds_numbers_only() -> None:
    files = [path for path in REDUCED.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert sum(path.stat().st_size for path in files) < MAX_BYTES


def test_the_maths_is_checked_without_the_reference(tmp_path: Path) -> None:
    modules = [f"tests/{path}" for path in MATHS]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *modules],
        cwd=ROOT,
        env={**os.environ, "REFERENCE_DIR": str(tmp_path / "absent")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert "skipped" not in result.stdout.splitlines()[-1]
