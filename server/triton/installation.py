"""A tritonserver from the PyPI wheel nvidia-pytriton, in an environment of its own.

The wheel holds NVIDIA's tritonserver binary, its Python backend and one stub, the process that runs
Python models, per Python version. requirements.txt beside this file is what goes into it.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from server import memory
from server.triton.errors import InstallationError

BACKENDS = Path(__file__).parent / "backends"
REQUIREMENTS = Path(__file__).parent / "requirements.txt"
STUB = "triton_python_backend_stub"
PROBE = """
import importlib.metadata, json, sys, sysconfig

def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None

libdir, multiarch = (sysconfig.get_config_var(name) or "" for name in ("LIBDIR", "MULTIARCH"))
print(json.dumps({
    "version": sysconfig.get_python_version(),
    "packages": sysconfig.get_path("platlib"),
    "library_dirs": [
        libdir,
        f"{libdir}/{multiarch}",
        f"{sys.base_prefix}/lib",
        f"/usr/lib/{multiarch}",
        "/usr/lib64",
    ],
    "numpy": version("numpy"),
    "onnxruntime": version("onnxruntime"),
}))
"""


@dataclass(frozen=True, slots=True)
class TritonInstallation:
    """Where the parts of one Triton are."""

    venv: Path
    tritonserver: Path
    python_backend: Path
    stub: Path
    libpython_dir: Path

    @classmethod
    def find(cls, venv: Path) -> Self:
        """Finds Triton in a virtual environment. It asks the environment's Python, so it blocks.

        Raises:
            InstallationError: something is missing; it says what, and the remedy.
        """
        # Not resolved: the link venv/bin/python3 is what makes Python use the environment.
        venv = venv.absolute()
        found = _probe(venv)
        wheel = Path(found["packages"]) / "pytriton" / "tritonserver"
        _check_packages(venv, wheel, found)
        version = found["version"]
        stub = wheel / "python_backend_stubs" / version / STUB
        if not stub.exists():
            raise InstallationError(
                f"nvidia-pytriton has no stub for Python {version}", f"make {venv} with Python 3.11"
            )
        return cls(
            venv=venv,
            tritonserver=wheel / "bin" / "tritonserver",
            python_backend=wheel / "backends" / "python",
            stub=stub,
            libpython_dir=find_libpython(version, map(Path, found["library_dirs"])),
        )

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.venv / "bin" / "python3"

    def knows(self, option: str) -> bool:
        """Whether tritonserver has an option, as ``--allow-http``. It asks it, so it blocks."""
        return has_option(self.tritonserver, option, self.environment())

    def assemble_backends(self, directory: Path) -> None:
        """Makes a backend directory with the wheel's `python` and our `onnxruntime`."""
        python = directory / "python"
        python.mkdir(parents=True)
        # Triton refuses a library that links out of the backend directory; the stub, in turn,
        # finds its own libraries relative to where it really lies.
        shutil.copy(self.python_backend / "libtriton_python.so", python)
        for target in (self.stub, self.python_backend / "triton_python_backend_utils.py"):
            (python / target.name).symlink_to(target)
        shutil.copytree(BACKENDS / "onnxruntime", directory / "onnxruntime")

    def environment(self) -> dict[str, str]:
        """The environment variables that tritonserver needs, and ours but for those of our Python.

        The stub takes the Python that comes first on PATH, and libpython from the loader.
        """
        inherited = without_python(os.environ)
        paths = {"PATH": self.venv / "bin", "LD_LIBRARY_PATH": self.libpython_dir}
        for name, path in paths.items():
            inherited[name] = ":".join(filter(None, [str(path), inherited.get(name)]))
        # ONNX Runtime collects usage data unless told not to.
        return inherited | memory.ENVIRONMENT | {"ORT_DISABLE_TELEMETRY": "1"}


def has_option(tritonserver: Path, option: str, environment: Mapping[str, str]) -> bool:
    """Whether a tritonserver has an option, as ``--allow-http``. It asks it, so it blocks."""
    answer = subprocess.run(
        (tritonserver, "--help"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return option in answer.stdout.decode(errors="replace").split()


def without_python(variables: Mapping[str, str]) -> dict[str, str]:
    """Returns environment variables but for those of the gateway's own Python."""
    return {
        name: value
        for name, value in variables.items()
        if not name.startswith("PYTHON") and name != "VIRTUAL_ENV"
    }


def _probe(venv: Path) -> dict[str, Any]:
    """What the environment's own Python says about itself."""
    python = venv / "bin" / "python3"
    if not python.exists():
        raise InstallationError(
            f"there is no {python}", f"run `python3.11 -m venv {venv}`, then {_install(venv)}"
        )
    answer = subprocess.run([python, "-I", "-c", PROBE], stdout=subprocess.PIPE, check=True)
    return json.loads(answer.stdout)


def _check_packages(venv: Path, wheel: Path, found: dict[str, Any]) -> None:
    if not (wheel / "bin" / "tritonserver").exists():
        raise InstallationError(f"{venv} lacks nvidia-pytriton", _install(venv))
    if not found["onnxruntime"]:
        raise InstallationError(f"{venv} lacks onnxruntime", _install(venv))
    # With numpy 2 the stub returns empty tensors without an error.
    if not (found["numpy"] or "").startswith("1."):
        raise InstallationError(
            f"{venv} needs numpy 1 and has {found['numpy'] or 'none'}", _install(venv)
        )


def _install(venv: Path) -> str:
    return f"run `{venv}/bin/pip install --no-deps -r {REQUIREMENTS}`"


def find_libpython(version: str, directories: Iterable[Path]) -> Path:
    """Returns the directory that holds the shared library of a Python version, as ``3.11``.

    Without it the stub cannot start, and tritonserver waits for the stub forever.

    Raises:
        InstallationError: none of the directories does.
    """
    library = f"libpython{version}.so.1.0"
    searched = list(dict.fromkeys(directories))
    for directory in searched:
        if (directory / library).exists():
            return directory
    raise InstallationError(
        f"{library} is in none of {', '.join(map(str, searched))}",
        "make the environment with a Python built with --enable-shared, "
        f"or install Debian's libpython{version}",
    )
