"""Memory of a GPU, which Triton opens by a handle of CUDA's.

Networks read and write it where they run. This process copies from and to it by a buffer of its
own, which the driver keeps in place for the GPU to reach. It is the first GPU that the process
sees, and Triton has to see the same one first, on the same host and in the same namespace of
processes' memory (``--ipc=host``).
"""

# The libraries' own annotations are partial.
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false, reportUnknownVariableType=false, reportMissingImports=false

import ctypes
import weakref
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from tritonclient.grpc import service_pb2

from server.triton.regions import Medium, NotSharedError, Region

pb: Any = service_pb2

BLOCK_BYTES = 2**21
"""CUDA shares memory in blocks of this size: with less, what lies beside it is shared as well."""
DEVICE = 0
LINGER_S = 120.0
"""Longer than an execution may take; what Triton still writes to must not be taken from it."""


class CudaError(OSError):
    """What CUDA cannot do."""


class Cuda:
    """CUDA's runtime, with errors raised."""

    def __init__(self) -> None:
        """Begins.

        Raises:
            CudaError: the package is missing, or there is no GPU.
        """
        try:
            from cuda.bindings import runtime
        except ModuleNotFoundError as error:
            raise CudaError("cuda-bindings is missing: pip install '.[cuda]'") from error
        self._runtime: Any = runtime
        self.call("cudaGetDeviceCount")

    def call(self, name: str, *arguments: Any) -> Any:
        """Returns what a function gives besides its error.

        Raises:
            CudaError: it failed.
        """
        error, *given = getattr(self._runtime, name)(*arguments)
        if error != self._runtime.cudaError_t.cudaSuccess:
            _, text = self._runtime.cudaGetErrorString(error)
            raise CudaError(f"{name}: {text.decode()}")
        return given[0] if given else None

    def free(self, name: str, address: int) -> None:
        """Gives memory back, as far as there still is a GPU."""
        with suppress(CudaError):
            self.call(name, address)

    def handle(self, address: int) -> bytes:
        """Returns what other processes open memory of the GPU by; errors as for `call`."""
        handle = self.call("cudaIpcGetMemHandle", address)
        return ctypes.string_at(handle.getPtr(), self._runtime.CUDA_IPC_HANDLE_SIZE)

    def copy(self, to: int, of: int, nbytes: int, kind: str) -> None:
        """Copies, and waits for it; errors as for `call`."""
        self.call("cudaMemcpy", to, of, nbytes, getattr(self._runtime.cudaMemcpyKind, kind))


class CudaRegion(Region):
    """Memory of a GPU, and the buffer that is copied to and from it."""

    def __init__(self, cuda: Cuda, name: str, nbytes: int) -> None:
        """Takes memory of both.

        Raises:
            CudaError: there is none.
        """
        self._cuda = cuda
        self._gpu: int = cuda.call("cudaMalloc", -(-nbytes // BLOCK_BYTES) * BLOCK_BYTES)
        try:
            self.handle = cuda.handle(self._gpu)
            self._host: int = cuda.call("cudaMallocHost", nbytes)
        except CudaError:
            self.free()
            raise
        buffer = (ctypes.c_ubyte * nbytes).from_address(self._host)
        # Arrays on it may outlive everything else.
        weakref.finalize(buffer, cuda.free, "cudaFreeHost", self._host).atexit = False
        super().__init__(name, memoryview(buffer))

    def written(self, span: slice) -> None:
        """Copies to the GPU what was written there; see `Region`."""
        self._copy(self._gpu, self._host, span, "cudaMemcpyHostToDevice")

    def fetch(self, span: slice) -> None:
        """Copies from the GPU what Triton wrote there; see `Region`."""
        self._copy(self._host, self._gpu, span, "cudaMemcpyDeviceToHost")

    def free(self) -> None:
        """Gives back the GPU's part."""
        self._cuda.free("cudaFree", self._gpu)

    def _copy(self, to: int, of: int, span: slice, kind: str) -> None:
        try:
            self._cuda.copy(to + span.start, of + span.start, span.stop - span.start, kind)
        except CudaError as error:
            raise NotSharedError(str(error)) from error


class CudaMemory(Medium):
    """The GPU's memory, and what Triton is told of it."""

    linger_s = LINGER_S

    def __init__(self) -> None:
        """Begins; errors as for `Cuda`."""
        self._cuda = Cuda()

    def create(self, name: str, nbytes: int) -> Region:
        """Makes a region; see `Medium`."""
        return CudaRegion(self._cuda, name, nbytes)

    async def register(self, stub: Any, region: Region, timeout_s: float) -> None:
        """Tells a Triton of a region; see `Medium`."""
        assert isinstance(region, CudaRegion)
        request = pb.CudaSharedMemoryRegisterRequest(
            name=region.name,
            raw_handle=region.handle,
            device_id=DEVICE,
            byte_size=region.nbytes,
        )
        await stub.CudaSharedMemoryRegister(request, timeout=timeout_s)

    async def unregister(self, stub: Any, name: str, timeout_s: float) -> None:
        """Has a Triton forget a region; see `Medium`."""
        request = pb.CudaSharedMemoryUnregisterRequest(name=name)
        await stub.CudaSharedMemoryUnregister(request, timeout=timeout_s)

    async def registered(self, stub: Any, timeout_s: float) -> Iterable[str]:
        """Returns the names of all regions that a Triton knows; see `Medium`."""
        request = pb.CudaSharedMemoryStatusRequest()
        return (await stub.CudaSharedMemoryStatus(request, timeout=timeout_s)).regions
