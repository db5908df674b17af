"""Triton's perf_analyzer: found, or fetched with what it needs, without root."""

import ctypes
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

# The last wheel that holds a perf_analyzer for a glibc older than 2.38.
WHEEL = "tritonclient==2.50.0"
INSIDE_WHEEL = "tritonclient-2.50.0.data/data/bin/perf_analyzer"
LIBB64, PACKAGE_OF_LIBB64 = "libb64.so.0d", "libb64-0d"
LIBCUDART = "libcudart.so.12"
CUDART_OF_PYTRITON = "lib/python*/site-packages/nvidia_pytriton.libs/libcudart-*.so.*"


class PerfAnalyzerMissingError(Exception):
    """It is not there and cannot be fetched; the text is one line that says what to do."""


@dataclass(frozen=True)
class PerfAnalyzer:
    """The program, and where the libraries are that the system lacks."""

    program: Path
    libraries: Path | None = None

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs it; its output is captured."""
        environment = dict(os.environ)
        if self.libraries:
            paths = [str(self.libraries), environment.get("LD_LIBRARY_PATH", "")]
            environment["LD_LIBRARY_PATH"] = ":".join(filter(None, paths))
        return subprocess.run(
            [self.program, *words], env=environment, capture_output=True, text=True
        )


def find(folder: Path, triton_venv: Path) -> PerfAnalyzer:
    """Returns the one on PATH, or one that is kept in a folder, fetched when it is first asked for.

    Args:
        folder: where it is kept.
        triton_venv: Triton's environment, whose CUDA runtime it is given.

    Raises:
        PerfAnalyzerMissingError: it could not be fetched.
    """
    if found := shutil.which("perf_analyzer"):
        return PerfAnalyzer(Path(found))
    kept = PerfAnalyzer(folder / "perf_analyzer", folder / "lib")
    if not kept.program.exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "lib").mkdir(parents=True)
        _fetch_libb64(folder)
        _link_cudart(folder / "lib", triton_venv)
        _fetch_program(folder)
    return kept


def _fetch_program(folder: Path) -> None:
    _call(folder, sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", WHEEL)
    (wheel,) = folder.glob("*.whl")
    # In its place only when it is whole.
    partial = folder / "perf_analyzer.partial"
    with zipfile.ZipFile(wheel) as archive:
        partial.write_bytes(archive.read(INSIDE_WHEEL))
    partial.chmod(0o755)
    wheel.unlink()
    partial.rename(folder / "perf_analyzer")


def _fetch_libb64(folder: Path) -> None:
    if _is_installed(LIBB64):
        return
    for program in ("apt-get", "dpkg"):
        if not shutil.which(program):
            raise PerfAnalyzerMissingError(f"perf_analyzer needs {LIBB64}; install it")
    _call(folder, "apt-get", "download", PACKAGE_OF_LIBB64)
    (package,) = folder.glob("*.deb")
    _call(folder, "dpkg", "-x", package.name, "unpacked")
    for library in (folder / "unpacked").rglob(f"{LIBB64}*"):
        library.rename(folder / "lib" / library.name)
    shutil.rmtree(folder / "unpacked")
    package.unlink()


def _link_cudart(libraries: Path, triton_venv: Path) -> None:
    if _is_installed(LIBCUDART):
        return
    found = sorted(triton_venv.absolute().glob(CUDART_OF_PYTRITON))
    if not found:
        raise PerfAnalyzerMissingError(
            f"perf_analyzer needs {LIBCUDART}, which is neither installed nor in {triton_venv}"
        )
    (libraries / LIBCUDART).symlink_to(found[-1])


def _is_installed(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _call(folder: Path, *command: str) -> None:
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if finished.returncode:
        last = (finished.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise PerfAnalyzerMissingError(f"`{' '.join(command)}` failed: {last}")
