"""`python -m export` before a command runs."""

import subprocess
import sys

import pytest

from export.cli.app import COMMANDS
from tests.support.paths import ROOT

HEAVY = ("torch", "onnx", "onnxruntime", "transformers", "diffusers", "tensorrt_rtx")


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_loads_no_library_that_a_command_needs(command: str | None) -> None:
    arguments = [*([command] if command else []), "--help"]
    code = f"""
import sys
from export.__main__ import app
try:
    app({arguments!r})
finally:
    print([name for name in {HEAVY!r} if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert "Usage" in run.stdout
    assert run.stdout.splitlines()[-1] == "[]"
