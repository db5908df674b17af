"""What Triton's containers carry, and so what of an export they can serve."""

from typing import get_args

from export.errors import ExportError
from export.onnx.opsets import NEWEST, Opset
from export.precision.policy import Precision

CONTAINERS = {
    "26.08": ("2.72.0", "1.28.0"),
    "26.07": ("2.71.0", "1.27.0"),
    "26.06": ("2.70.0", "1.24.4"),
    "26.05": ("2.69.0", "1.24.4"),
    "26.04": ("2.68.0", "1.24.4"),
    "26.03": ("2.67.0", "1.24.2"),
    "26.02": ("2.66.0", "1.24.1"),
    "26.01": ("2.65.0", "1.23.2"),
    "25.12": ("2.64.0", "1.23.2"),
    "25.10": ("2.62.0", "1.23.1"),
    "25.06": ("2.59.0", "1.22.0"),
    "25.01": ("2.54.0", "1.20.1"),
}
"""Triton and ONNX Runtime: `TRITON_VERSION` and `build.py` of each release's branch."""
TENSORRT = {
    "26.07": "10.14.1.48",
    "26.06": "10.14.1.48",
    "26.05": "10.14.1.48",
    "26.04": "10.14.1.48",
    "26.03": "10.14.1.48",
    "26.02": "10.13.3.9",
    "26.01": "10.13.3.9",
    "25.12": "10.13.3.9",
    "25.10": "10.11.0.33",
    "25.06": "10.10.0.31",
    "25.01": "10.8.0.43",
}
"""Of the image whose name ends with TRTLLM: docs/introduction/compatibility.md of the same
repository, which says nothing of the others."""
TRTLLM = "-trtllm-python-py3"
RUNTIMES: dict[tuple[int, int], int] = {(1, 20): 21, (1, 22): 22, (1, 23): 23}
"""From which ONNX Runtime on which opset is loaded, as the wheels of those versions say."""
INT8_RUNTIME = (1, 23)
"""The first that multiplies 8-bit weights in 32 bits, by the operator that the export writes."""


class ContainerError(ExportError):
    """A container cannot serve what is asked for; the text is one line."""


def newest_opset(asked: Opset | None, container: str | None) -> Opset:
    """Returns the newest opset that may be used, by default the newest that a container loads.

    Raises:
        ContainerError: the container is not known, or does not load what is asked for.
    """
    if container is None:
        return asked or NEWEST
    loaded = _loaded(_runtime(container))
    if asked is not None and asked > loaded:
        raise ContainerError(
            f"Triton {container} has ONNX Runtime {CONTAINERS[container][1]}, which loads opsets "
            f"up to {loaded}, not {asked}: choose --opset {_newest_of(loaded)}"
        )
    return asked or _newest_of(loaded)


def check_container(container: str, precisions: set[Precision]) -> None:
    """Refuses a container that cannot serve some precision.

    Raises:
        ContainerError: it cannot, or is not known.
    """
    if "int8" in precisions and _runtime(container) < INT8_RUNTIME:
        raise ContainerError(
            f"Triton {container} has ONNX Runtime {CONTAINERS[container][1]}, which does not "
            f"multiply int8 in 32 bits: choose another precision, or a container from 25.10 on"
        )


def _loaded(runtime: tuple[int, int]) -> int:
    return max(opset for since, opset in RUNTIMES.items() if since <= runtime)


def _newest_of(loaded: int) -> Opset:
    return max(opset for opset in get_args(Opset) if opset <= loaded)


def _runtime(container: str) -> tuple[int, int]:
    if container not in CONTAINERS:
        raise ContainerError(f"Triton {container} is not known, only {', '.join(CONTAINERS)}")
    major, minor, _ = CONTAINERS[container][1].split(".")
    return int(major), int(minor)
