"""What docker/ says agrees with the rest: images, compose, settings, documentation."""

import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from export.planning.containers import CONTAINERS
from server.settings import ENVIRONMENT_PREFIX, PLAIN_VARIABLES, Settings
from tests.support.listening import listening
from tests.support.paths import ROOT

DOCKER = ROOT / "docker"
COMPOSE = DOCKER / "compose.yaml"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))


def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


def arguments(name: str) -> set[str]:
    """What a build argument is by default, in all files."""
    pattern = rf"^ARG {name}=(.*)$"
    return {found for file in DOCKERFILES for found in re.findall(pattern, file.read_text(), re.M)}


def schema_of_compose(file: Path) -> subprocess.CompletedProcess[str]:
    program = (sys.executable, "-m", "check_jsonschema")
    words = ("--builtin-schema", "vendor.compose-spec", file)
    return subprocess.run((*program, *words), capture_output=True, text=True)


def test_compose_is_of_its_schema(tmp_path: Path) -> None:
    assert schema_of_compose(COMPOSE).returncode == 0
    misspelt = tmp_path / "compose.yaml"
    misspelt.write_text(COMPOSE.read_text().replace("shm_size", "shmsize"))
    assert schema_of_compose(misspelt).returncode == 1


def test_the_cpu_profile_asks_for_no_gpu_and_the_other_for_one() -> None:
    services = compose()
    profiles = {name: service["profiles"] for name, service in services.items()}
    assert profiles == {"renderer": ["cpu"], "gateway": ["gpu"], "triton": ["gpu"]}
    reserved = [name for name, of in services.items() if "reservations" in str(of["deploy"])]
    assert reserved == ["triton"]
    assert services["renderer"]["build"]["target"] == "cpu"


@pytest.mark.parametrize("name", ["renderer", "gateway", "triton"])
def test_every_container_is_confined(name: str) -> None:
    service = compose()[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["deploy"]["resources"]["limits"]["memory"]
    # Longer than streams may finish, after which a Triton takes half as long.
    grace_s = int(service["stop_grace_period"].removesuffix("s"))
    assert grace_s >= Settings.model_validate({}).shutdown_grace_s + 15


def test_ports_are_published_on_this_host_alone_unless_it_is_said() -> None:
    for service in compose().values():
        for port in service.get("ports", []):
            assert port.startswith("${PUBLISH:-127.0.0.1}:")


def test_the_variables_that_users_know_reach_the_gateway() -> None:
    for name in ("renderer", "gateway"):
        assert set(PLAIN_VARIABLES) <= set(compose()[name]["environment"])


def test_memory_is_shared_by_containers_of_one_user() -> None:
    services = compose()
    assert (services["gateway"]["ipc"], services["triton"]["ipc"]) == (
        "service:triton",
        "shareable",
    )
    # What is left to others of it, and what the gateway takes at most.
    assert services["triton"]["shm_size"] == "${SHM_SIZE:-2g}"
    assert Settings.model_validate({}).triton_shared_memory_bytes <= 2 * 2**30 / 2
    assert {"USER 10001:10001"} == {
        re.findall(r"^USER .*", file.read_text(), re.M)[-1] for file in DOCKERFILES
    }


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_every_variable_of_an_image_is_a_setting(file: Path) -> None:
    named = re.findall(rf"{ENVIRONMENT_PREFIX}(\w+)=", file.read_text())
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_bases_are_pinned_and_the_same_everywhere() -> None:
    (python,) = arguments("PYTHON_IMAGE")
    assert re.fullmatch(r"docker.io/library/python:3\.11\.\d+-slim-bookworm@sha256:\w{64}", python)
    (triton,) = arguments("TRITON_IMAGE")
    assert compose()["triton"]["build"]["args"]["TRITON_IMAGE"] == f"${{TRITON_IMAGE:-{triton}}}"
    release = triton.removeprefix("nvcr.io/nvidia/tritonserver:").removesuffix("-py3")
    assert release in CONTAINERS


def test_images_have_the_extras_of_the_makefile() -> None:
    (extras,) = arguments("EXTRAS")
    assert f"$(GATEWAY)/bin/pip $(PIP_INSTALL) -e '.[{extras}]'" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_a_container_is_healthy_while_it_answers(status: int, code: int) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    def check(path: str) -> int:
        command = (sys.executable, DOCKER / "ready.py", "$PORT", path)
        return subprocess.run(command, env={"PORT": str(port)}).returncode

    with listening(HTTPServer(("127.0.0.1", 0), Answer)) as port:
        assert check("/readyz") == code
        assert check("/elsewhere") == 1
    assert check("/readyz") == 1


@pytest.mark.parametrize(("content", "served"), [(None, "demo"), ("", "demo"), ("x", "models")])
def test_the_demo_is_served_where_there_are_no_models_at_all(
    tmp_path: Path, content: str | None, served: str
) -> None:
    models = tmp_path / "models"
    if content is not None:
        models.mkdir()
    if content:
        (models / content).touch()
    script = (
        (DOCKER / "renderer.sh").read_text().replace("/opt/gateway/bin/python3", "/bin/sh -c env")
    )
    run = subprocess.run(
        ["/bin/sh", "-c", script],
        env={"ECHOMIMIC_REPOSITORY": str(models), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    repository = "/app/demo" if served == "demo" else models
    assert f"ECHOMIMIC_REPOSITORY={repository}" in run.stdout
    assert ("serving the demo's" in run.stderr) == (served == "demo")
