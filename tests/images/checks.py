"""What `make image-check` checks; it takes root, buildah and minutes, so `make test` does not."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import av
import httpx2
import numpy as np
import pytest
import soundfile
from PIL import Image

from client.demo.media import PORTRAIT, SPEECH
from echomimic_client.audio import read_audio
from echomimic_client.blocking import AvatarClient
from tests.images.buildah import Buildah, base
from tests.images.container import Container, running, until
from tests.support.gateway_process import free_port
from tests.support.paths import ROOT

DOCKER = ROOT / "docker"
DEMO = ROOT / "export" / "demo" / "model_repository"
HADOLINT = ROOT / ".venv" / "images" / "bin" / "hadolint"
GATEWAY, RENDERER, TRITON = "echomimic-gateway", "echomimic-renderer:cpu", "echomimic-triton"
RENDERER_GPU = "echomimic-renderer"
STAND_IN = "tritonserver-stand-in"
PLAIN_SHARED_MEMORY = "size=64m"
"""What Docker gives a container that is not given more."""
SPEAKS_S = 3
VERSIONS = """
from importlib.metadata import distributions
found = {d.metadata["Name"]: d.version for d in distributions()}
print(sorted(f"{n}=={v}" for n, v in found.items() if n not in ("pip", "setuptools")))
"""
WRITE = """
import sys
from pathlib import Path
for place in sys.argv[1:]:
    try:
        Path(place, "written").touch()
        print("written", place)
    except OSError as error:
        print(error.strerror)
"""

# Not for the fixture that builds, which downloads.
pytestmark = pytest.mark.timeout(900, func_only=True)


@pytest.fixture(scope="session")
def buildah() -> Iterator[Buildah]:
    """Its storage, removed in the end; ECHOMIMIC_IMAGES names a folder that is kept."""
    assert os.getuid() == 0, "building images takes root here"
    for program in ("buildah", "mmdebstrap", "unshare", "nsenter"):
        assert shutil.which(program), f"{program} is missing; apt-get install buildah mmdebstrap"
    kept, builds = os.environ.get("ECHOMIMIC_IMAGES"), ROOT / "build"
    builds.mkdir(exist_ok=True)
    folder = Path(kept or tempfile.mkdtemp(prefix="images-", dir=builds))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield Buildah(folder)
    finally:
        if not kept:
            shutil.rmtree(folder)


@pytest.fixture(scope="session")
def images(buildah: Buildah) -> Buildah:
    """All images, on stand-ins of their bases."""
    if buildah.folder.joinpath("built").exists():
        return buildah
    base(buildah)
    buildah.build(GATEWAY, DOCKER / "gateway.Dockerfile", ROOT)
    buildah.build(RENDERER, DOCKER / "renderer.Dockerfile", ROOT, "--target=cpu")
    nvidia = Path(__file__).parent / "nvidia"
    buildah.build(STAND_IN, nvidia / "Dockerfile", nvidia)
    buildah.build(TRITON, DOCKER / "triton.Dockerfile", ROOT)
    buildah.build(RENDERER_GPU, DOCKER / "renderer.Dockerfile", ROOT)
    buildah.folder.joinpath("built").touch()
    return buildah


@contextmanager
def gateway(
    images: Buildah,
    image: str,
    folder: Path,
    *words: str,
    mounts: Mapping[Path, str] | None = None,
    variables: Mapping[str, str] | None = None,
    shared_memory: str = PLAIN_SHARED_MEMORY,
) -> Iterator[tuple[Container, httpx2.Client, AvatarClient]]:
    """One that serves, on free ports of this machine."""
    port, http_port = free_port(), free_port()
    stated = {"ECHOMIMIC_PORT": str(port), "ECHOMIMIC_HTTP_PORT": str(http_port)}
    with (
        running(
            images,
            image,
            folder / "gateway.log",
            *words,
            mounts=mounts,
            variables=stated | dict(variables or {}),
            shared_memory=shared_memory,
        ) as container,
        httpx2.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=300) as http,
        AvatarClient(f"127.0.0.1:{port}") as client,
    ):
        assert not container.healthy()
        serves(container)
        yield container, http, client


def serves(container: Container) -> None:
    """Waits until a container's own health check says so."""

    def begun() -> bool:
        assert container.unshared.poll() is None, container.said
        return container.healthy()

    until(begun, f"it does not serve: {container.log}")


def beginning_of(recording: Path) -> bytes:
    """Returns the first seconds of a recording, as a WAV."""
    samples, rate = soundfile.read(recording, dtype="int16")
    file = io.BytesIO()
    soundfile.write(file, samples[: SPEAKS_S * rate], rate, format="WAV")
    return file.getvalue()


def renders(http: httpx2.Client, client: AvatarClient, fps: int = 25) -> None:
    """Has a clip made by HTTP and one by gRPC, from outside."""
    speech = beginning_of(SPEECH)
    files = {"portrait": PORTRAIT.read_bytes(), "audio": speech}
    posted = http.post("/v1/animate", files=files)
    assert posted.status_code == 200, posted.text
    rendered = client.render(PORTRAIT, read_audio(speech))
    assert rendered.started.frames_per_second == fps
    for film in (posted.content, rendered.film):
        with av.open(io.BytesIO(film), mode="r") as file:
            pictures = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
            assert file.streams.video[0].average_rate == fps
        assert len(pictures) == SPEAKS_S * fps
        # A drawn face that speaks: neither flat nor still.
        assert np.std(pictures[0]) > 10
        assert np.abs(pictures[0].astype(int) - pictures[len(pictures) // 2]).max() > 20


def belongs_to_nobody(container: Container, *places: str) -> None:
    """Its processes run as no root, and nothing can be written where the image lies."""
    users = container.processes(lambda process: process.uids().real)
    assert {container.first.uids().real, *users} == {10001}
    answer = container.execute("python3", "-c", WRITE, "/", "/app", *places)
    assert set(answer.stdout.splitlines()) == {"Read-only file system"}, answer.stdout


def ends_well(container: Container, client: AvatarClient, fps: int = 25) -> None:
    """SIGTERM lets a stream finish; then the container ends with 0 and leaves no process."""
    frames = iter(client.animate(PORTRAIT, read_audio(beginning_of(SPEECH))))
    next(frames)
    processes = container.first.children(recursive=True)
    container.first.send_signal(signal.SIGTERM)
    assert sum(1 for _ in frames) == SPEAKS_S * fps - 1
    assert container.unshared.wait(90) == 0
    assert not any(process.is_running() for process in processes)
    assert "Traceback" not in container.said


def test_the_dockerfiles_have_no_findings() -> None:
    subprocess.run([HADOLINT, *DOCKER.glob("*.Dockerfile")], check=True)


@pytest.mark.parametrize(
    ("image", "there", "here"),
    [
        (GATEWAY, "/opt/gateway", "gateway"),
        (RENDERER, "/opt/gateway", "gateway"),
        (RENDERER, "/opt/triton", "triton"),
        (RENDERER_GPU, "/opt/gateway", "gateway"),
    ],
)
def test_environments_are_those_of_the_makefile(
    images: Buildah, image: str, there: str, here: str
) -> None:
    def versions(*python: str | Path) -> list[str]:
        run = subprocess.run([*python, "-I", "-c", VERSIONS], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout.replace("'", '"'))

    with images.mounted(image) as root:
        of_image = versions("chroot", root, f"{there}/bin/python3")
        assert of_image == versions(ROOT / ".venv" / here / "bin" / "python3")
        assert not any(package.startswith("torch==") for package in of_image)


def test_nothing_of_the_build_stays(images: Buildah) -> None:
    for image in (GATEWAY, RENDERER, TRITON, RENDERER_GPU):
        with images.mounted(image) as root:
            assert not (root / "build").exists()
            assert not list(root.glob("opt/*/bin/pip"))
            inspected = images.run("inspect", "--type", "image", f"localhost/{image}")
            assert "index" not in inspected


def test_without_models_the_demo_is_served_and_said(images: Buildah, tmp_path: Path) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    (folder / "speech.wav").write_bytes(SPEECH.read_bytes())
    (folder / "secret.wav").touch(mode=0o600)
    with gateway(
        images,
        RENDERER,
        tmp_path,
        mounts={folder: "/app/input"},
        variables={"TARGET_FPS": "15", "STYLE_CFG": "2.5", "STYLE_PROMPT": "natural"},
    ) as (container, http, client):
        assert "no models in /app/models: serving the demo's" in container.said
        assert "which others may reach, without TLS" in container.said
        assert container.said.count("a setting is stated") == 3
        renders(http, client, fps=15)
        # The setup guide's way: pixels as a list, and the name of a file.
        pixels = np.asarray(Image.open(PORTRAIT).convert("RGB").resize((512, 512)))
        body = {"image": pixels.tolist(), "audio_file": "speech.wav"}
        frame = np.array(http.post("/render", json=body).json()["frame"])
        assert frame.shape == (128, 128, 3)
        refused = http.post("/render", json=body | {"audio_file": "secret.wav"})
        assert refused.status_code == 400
        assert http.get("/readyz").status_code == 200
        belongs_to_nobody(container, "/opt/triton", "/app/demo")
        ends_well(container, client, fps=15)


def test_models_that_are_mounted_are_served(images: Buildah, tmp_path: Path) -> None:
    with gateway(
        images, RENDERER, tmp_path, mounts={DEMO: "/app/models"}, shared_memory="size=2g"
    ) as (container, http, client):
        assert "serving the demo's" not in container.said
        renders(http, client)
        assert "memory is shared" in container.said
        assert "no room" not in container.said
        # A Triton that dies is replaced, and number 1 reaps what it leaves.
        for process, name in container.processes(lambda process: (process, process.name())):
            if name == "tritonserver":
                process.kill()
        until(lambda: not container.healthy(), "its death was not seen")
        serves(container)
        renders(http, client)
        assert "zombie" not in container.processes(lambda process: process.status())


def test_a_folder_that_holds_no_repository_is_refused(images: Buildah, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "diffusion_pytorch_model.safetensors").touch()
    log = tmp_path / "log"
    with running(images, RENDERER, log, mounts={models: "/app/models"}) as container:
        assert container.unshared.wait(60) == 1
        assert "manifest.json is missing; write the repository with" in container.said
        assert "serving the demo's" not in container.said


@pytest.mark.parametrize("shared", [True, False], ids=["with shared memory", "by gRPC"])
def test_a_gateway_and_a_triton_of_its_own_container(
    images: Buildah, tmp_path: Path, shared: bool
) -> None:
    for port in (8000, 8001, 8002):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)), f"port {port} is in use; free it"
    models = {DEMO: "/app/models"}
    with tempfile.TemporaryDirectory(prefix="images-", dir="/dev/shm") as memory:
        Path(memory).chmod(0o1777)
        use = "system" if shared else "off"
        words = ("--triton-url=127.0.0.1:8001", f"--triton-shared-memory={use}")
        of_triton, of_gateway = (memory, memory) if shared else ("size=2g", PLAIN_SHARED_MEMORY)
        with (
            running(
                images, TRITON, tmp_path / "triton.log", mounts=models, shared_memory=of_triton
            ) as triton,
            gateway(images, GATEWAY, tmp_path, *words, mounts=models, shared_memory=of_gateway) as (
                container,
                http,
                client,
            ),
        ):
            assert triton.healthy()
            assert ("memory is shared" in container.said) == shared
            renders(http, client)
            belongs_to_nobody(triton, "/app/models", "/opt")
            belongs_to_nobody(container, "/app/models", "/opt")
            ends_well(container, client)
            assert triton.terminate() == 0
        assert not list(Path(memory).glob("*"))


def test_all_in_one_starts_the_triton_of_nvidias_container(images: Buildah, tmp_path: Path) -> None:
    with gateway(images, RENDERER_GPU, tmp_path) as (container, http, client):
        assert "a stand-in for NVIDIA's container" in container.said
        assert "no models in /app/models: serving the demo's" in container.said
        renders(http, client)
        interpreters = container.processes(lambda process: process.exe())
        assert any("/opt/python/bin" in interpreter for interpreter in interpreters)
        belongs_to_nobody(container, "/opt/tritonserver", "/opt/python")
        ends_well(container, client)
