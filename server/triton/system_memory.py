"""Shared memory of the host: files in /dev/shm, which Triton finds by their names."""

# The library's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false, reportUnknownVariableType=false

import errno
import mmap
import os
from collections.abc import Iterable
from typing import Any

from tritonclient.grpc import service_pb2

from server.triton.regions import Medium, Region
from server.triton.workdir import SHARED_MEMORY

pb: Any = service_pb2

KEPT_FREE = 0.5
"""Of the file system: Triton's Python backend hands tensors to its stubs there, too."""


class SystemRegion(Region):
    """A file of shared memory, mapped here and by Triton."""

    def hide(self) -> None:
        """Removes the name of the file."""
        (SHARED_MEMORY / self.name).unlink(missing_ok=True)


class SystemMemory(Medium):
    """The files, and what Triton is told of them. One that it has mapped stays whole for it."""

    linger_s = 0.0

    def create(self, name: str, nbytes: int) -> Region:
        """Makes a region.

        Raises:
            OSError: there is no room. Without asking for it now, writing would be the end of the
                process.
        """
        path = SHARED_MEMORY / name
        there = os.statvfs(SHARED_MEMORY)
        if there.f_bavail * there.f_frsize - nbytes < KEPT_FREE * there.f_blocks * there.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with path.open("xb+") as file:
            path.chmod(0o600)
            try:
                os.posix_fallocate(file.fileno(), 0, nbytes)
                return SystemRegion(name, memoryview(mmap.mmap(file.fileno(), nbytes)))
            except OSError:
                path.unlink()
                raise

    async def register(self, stub: Any, region: Region, timeout_s: float) -> None:
        """Tells a Triton of a region; see `Medium`."""
        request = pb.SystemSharedMemoryRegisterRequest(
            name=region.name, key=f"/{region.name}", offset=0, byte_size=region.nbytes
        )
        await stub.SystemSharedMemoryRegister(request, timeout=timeout_s)

    async def unregister(self, stub: Any, name: str, timeout_s: float) -> None:
        """Has a Triton forget a region; see `Medium`."""
        request = pb.SystemSharedMemoryUnregisterRequest(name=name)
        await stub.SystemSharedMemoryUnregister(request, timeout=timeout_s)

    async def registered(self, stub: Any, timeout_s: float) -> Iterable[str]:
        """Returns the names of all regions that a Triton knows; see `Medium`."""
        request = pb.SystemSharedMemoryStatusRequest()
        return (await stub.SystemSharedMemoryStatus(request, timeout=timeout_s)).regions
