"""TensorRT's plans: a plan runs in the TensorRT that built it, and in no other."""

import os
import re
from pathlib import Path

from server.manifest import Manifest
from server.triton.errors import PlansElsewhereError

BACKEND = "tensorrt"
CONTAINER = "tritonserver"
"""Where the manifest's tool versions have the release of the Triton container, as 26.07."""
IMAGE = "nvcr.io/nvidia/tritonserver"
CONTAINER_VARIABLE, TENSORRT_VARIABLE = "NVIDIA_TRITON_SERVER_VERSION", "TRT_VERSION"
"""What NVIDIA's containers say of themselves."""


def container_here() -> str | None:
    """Returns the release of the Triton container that this runs in, or None outside of one."""
    return os.environ.get(CONTAINER_VARIABLE) or None


def check_plans(manifest: Manifest, repository: Path, here: str | None, remedy: str) -> None:
    """Checks that a repository's plans, if it has any, run in a TensorRT.

    Args:
        manifest: of the repository.
        repository: its folder, for the error.
        here: the version of that TensorRT; None where there is none.
        remedy: what to do besides serving them where they were built.

    Raises:
        PlansElsewhereError: another version built them.
    """
    if not any(entry.backend == BACKEND for entry in manifest.networks.values()):
        return
    built = manifest.tool_versions.get(BACKEND, "an unknown version")
    if here is not None and same_version(built, here):
        return
    container = manifest.tool_versions.get(CONTAINER)
    place = f"in {IMAGE}:{container}-py3" if container else "where that version is"
    raise PlansElsewhereError(repository, built, here, f"serve them {place}, {remedy}")


def same_version(built: str, here: str) -> bool:
    """Tells whether two versions agree in all the numbers that both of them state, three at least.

    What follows a plus or is no number, as in 10.14.1.48.post1, says how it was packed.
    """
    first, second = (re.findall(r"\d+", version.split("+")[0])[:4] for version in (built, here))
    common = min(len(first), len(second))
    return common >= 3 and first[:common] == second[:common]
