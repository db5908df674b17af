"""Where and on what a measurement was made."""

import importlib.metadata
import os
import platform
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.gateway_process import TRITON_VENV
from tests.support.paths import ROOT

PACKAGES = ("numpy", "grpcio", "protobuf", "tritonclient", "simplejpeg", "onnxruntime", "torch")
VARIABLES = ("OMP_NUM_THREADS", "MALLOC_ARENA_MAX")
"""What would change the figures if it were set."""


@dataclass(frozen=True)
class Used:
    """Processor time so far, in seconds."""

    at_s: float
    machine_s: float
    """Of all cores, with what a hypervisor kept for itself."""
    own_s: float
    """Of this process and of those below it that have ended."""

    @classmethod
    def now(cls) -> "Used":
        """Reads the counters of Linux."""
        user, nice, system, _, _, *interrupts = Path("/proc/stat").read_text().split()[1:9]
        ticks = sum(map(int, (user, nice, system, *interrupts)))
        machine_s = ticks / os.sysconf("SC_CLK_TCK")
        return cls(time.monotonic(), machine_s, sum(os.times()[:4]))


def others_share(before: Used, after: Used, cores: int) -> float:
    """Returns the share of the cores' time that went to other programs."""
    machine_s, own_s = after.machine_s - before.machine_s, after.own_s - before.own_s
    return max(0.0, machine_s - own_s) / (cores * (after.at_s - before.at_s))


def facts() -> dict[str, Any]:
    """Returns what a measurement depends on besides its plan."""
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "triton": _triton(),
        "environment": {name: os.environ.get(name, "") for name in VARIABLES},
    }


def _git(*words: str) -> str:
    run = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _triton() -> str:
    """Returns the wheel that the Triton is of."""
    (found,) = TRITON_VENV.glob("lib/python*/site-packages/nvidia_pytriton-*.dist-info")
    return found.name.removesuffix(".dist-info")
