"""Puts the backends for the Triton from PyPI where NVIDIA's containers have theirs."""

from pathlib import Path

from server.triton.installation import TritonInstallation

TritonInstallation.find(Path("/opt/triton")).assemble_backends(Path("/opt/tritonserver/backends"))
