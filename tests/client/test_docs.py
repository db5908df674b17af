"""What docs/client.md shows, runs."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc
from typer.testing import CliRunner

from client.demo.media import PORTRAIT, SPEECH
from echomimic_client.program import app
from tests.support.fake_service import FakeService, served
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "client.md").read_text()
ADDRESS = "127.0.0.1:50051"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server without a model; the folder has the files that the page names."""
    (tmp_path / "me.jpg").write_bytes(PORTRAIT.read_bytes())
    (tmp_path / "speech.wav").write_bytes(SPEECH.read_bytes())
    monkeypatch.chdir(tmp_path)
    with served(FakeService()) as running:
        yield running


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_every_python_example_runs(number: int, address: str, tmp_path: Path) -> None:
    code = blocks("python")[number]
    assert ADDRESS in code
    paths = [str(ROOT / "client"), str(ROOT / "protos")]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code.replace(ADDRESS, address)],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(paths), "GRPC_VERBOSITY": "NONE"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout


@pytest.mark.usefixtures("address")
def test_every_command_runs(address: str) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("animate")]
    assert len(commands) == 7
    for words in commands:
        live = [word for word in words if word != "--live"]
        result = CliRunner().invoke(app, [*live, "--server", address])
        assert result.exit_code == 0, result.stderr


class Unsteady(FakeService):
    """Cannot be reached twice, then answers."""

    calls = 0

    def GetServerInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.calls += 1
        if self.calls < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return super().GetServerInfo(request, context)


def test_the_retry_policy_tries_again() -> None:
    (policy,) = blocks("json")
    quick = policy.replace('"0.5s"', '"0.01s"')
    options = [("grpc.service_config", json.dumps(json.loads(quick)))]
    service = Unsteady()
    with served(service) as running, grpc.insecure_channel(running, options) as channel:
        stub = pb_grpc.AvatarServiceStub(channel)
        assert stub.GetServerInfo(pb.GetServerInfoRequest()).variant == "flash"
    assert service.calls == 3
