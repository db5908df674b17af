"""Networks that compute nothing, at the widths of the public models, in a real Triton."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from export.repository.hollow import make_hollow
from server.triton.installation import TritonInstallation
from server.triton.process import RunningTriton, Threads, start_triton
from tests.support.gateway_process import TRITON_VENV


@asynccontextmanager
async def hollow_triton(repository: Path, sides: tuple[int, ...]) -> AsyncIterator[RunningTriton]:
    """Writes a repository that offers squares, and serves it."""
    make_hollow(repository, sizes=[(side, side) for side in sides], precision="fp16")
    async with start_triton(
        TritonInstallation.find(TRITON_VENV),
        repository,
        runtime_dir=repository.parent,
        log_path=repository.parent / "triton.log",
        # Writing zeros with more threads would take the cores from whoever is measured.
        threads=Threads(intra_op=1),
    ) as triton:
        yield triton
