"""Which TensorRT is here."""

import os

from export.tensorrt.builder import find_tensorrt
from server.triton.plans import BACKEND, TENSORRT_VARIABLE


def tensorrt_here() -> str | None:
    """Returns the version of the container's TensorRT or the package's, or None without one."""
    if version := os.environ.get(TENSORRT_VARIABLE):
        return version
    package = find_tensorrt()
    return package.__version__ if package is not None and package.__name__ == BACKEND else None
