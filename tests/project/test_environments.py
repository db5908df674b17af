"""What is installed where."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

SOURCES = os.pathsep.join(str(ROOT / folder) for folder in ("", "protos", "client"))
"""This checkout's packages, whichever the environments were installed from."""
GATEWAY = ROOT / ".venv" / "gateway" / "bin" / "python"


@pytest.mark.skipif(not GATEWAY.exists(), reason="no gateway environment; `make test` builds it")
def test_the_gateway_and_the_client_need_no_torch() -> None:
    def run(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [GATEWAY, "-c", code],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": SOURCES},
        )

    without = run("import torch")
    assert without.returncode != 0
    assert "No module named 'torch'" in without.stderr
    assert run("import server.app, client.demo.__main__").returncode == 0


def test_the_export_needs_nothing_of_the_other_extras() -> None:
    # The tests' own environment has all extras, so theirs are hidden.
    others = (
        "simplejpeg",
        "structlog",
        "grpc_health",
        "grpc_reflection",
        "av",
        "pyloudnorm",
        "cv2",
    )
    hidden = "".join(f"sys.modules[{name!r}] = None; " for name in others)
    code = f"import sys; {hidden}import export.__main__"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
