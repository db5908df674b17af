"""The client as others install it."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT

CLIENT = ROOT / "client"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=CLIENT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_client_and_the_contract_alone(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    generated = {"avatar_service_pb2.py", "avatar_service_pb2.pyi", "avatar_service_pb2_grpc.py"}
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {
        "echomimic",
        "echomimic_client",
    }
    assert {f"echomimic/v1/{name}" for name in generated} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_needs_nothing_of_this_repository(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    # An entry of None makes an import fail.
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        "sys.modules |= dict.fromkeys(('client', 'server', 'export')); "
        "import echomimic_client.__main__ as program, echomimic_client.aio; "
        "from echomimic.v1 import avatar_service_pb2; "
        f"assert {str(tmp_path)!r} in program.__file__; "
        f"assert {str(tmp_path)!r} in avatar_service_pb2.__file__"
    )
    isolated = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert isolated.returncode == 0, isolated.stderr


def lower_bound(package: str) -> str:
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
    (line,) = (line for line in project["dependencies"] if re.match(rf"{package}\W", line))
    match = re.search(r">=([\d.]+)", line)
    assert match
    return match[1]


def test_the_ranges_begin_where_the_generated_code_does() -> None:
    generated = CLIENT / "echomimic" / "v1"
    grpc_code = (generated / "avatar_service_pb2_grpc.py").read_text()
    messages = (generated / "avatar_service_pb2.py").read_text()
    assert f"GRPC_GENERATED_VERSION = '{lower_bound('grpcio')}'" in grpc_code
    assert f"# Protobuf Python Version: {lower_bound('protobuf')}\n" in messages
