"""CUDA's runtime as cuda-bindings has it, on a GPU that is this process's own memory.

It checks what CUDA would not: addresses, lengths and directions of copies, and what is freed.
"""

import ctypes
import struct
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

SUCCESS, FAILURE = 0, 2
TO_GPU, TO_HOST = 1, 2
HANDLE_BYTES = 64
BLOCK_BYTES = 2**21


def install_cuda(monkeypatch: pytest.MonkeyPatch) -> "FakeCuda":
    """Has programs find a GPU where they import ``cuda.bindings.runtime``."""
    cuda = FakeCuda()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    bindings: Any = ModuleType("cuda.bindings")
    bindings.runtime = cuda
    monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    return cuda


class FakeCuda:
    """The functions and constants of ``cuda.bindings.runtime`` that this project knows."""

    CUDA_IPC_HANDLE_SIZE = HANDLE_BYTES
    cudaError_t = SimpleNamespace(cudaSuccess=SUCCESS)  # noqa: N815
    cudaMemcpyKind = SimpleNamespace(  # noqa: N815
        cudaMemcpyHostToDevice=TO_GPU, cudaMemcpyDeviceToHost=TO_HOST
    )

    def __init__(self) -> None:
        self.gpu: dict[int, ctypes.Array[Any]] = {}
        """What is allocated, by address."""
        self.host: dict[int, ctypes.Array[Any]] = {}
        self.failing: set[str] = set()
        """Functions that fail."""
        self.copied = {TO_GPU: 0, TO_HOST: 0}
        """Bytes."""

    def opened(self, handle: bytes) -> NDArray[np.uint8]:
        """Returns what a handle is of, as another process would open it."""
        assert len(handle) == HANDLE_BYTES
        (address,) = struct.unpack_from("<Q", handle)
        return np.frombuffer(memoryview(self.gpu[address]), np.uint8)

    def cudaGetErrorString(self, error: int) -> tuple[int, bytes]:  # noqa: N802
        assert error == FAILURE
        return SUCCESS, b"out of memory"

    def cudaGetDeviceCount(self) -> tuple[int, int]:  # noqa: N802
        return self._given("cudaGetDeviceCount", 1)

    def cudaMalloc(self, nbytes: int) -> tuple[int, int]:  # noqa: N802
        assert nbytes % BLOCK_BYTES == 0, "what lies beside it would be shared as well"
        return self._allocated("cudaMalloc", nbytes, self.gpu)

    def cudaMallocHost(self, nbytes: int) -> tuple[int, int]:  # noqa: N802
        return self._allocated("cudaMallocHost", nbytes, self.host)

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        del self.gpu[address]
        return (SUCCESS,)

    def cudaFreeHost(self, address: int) -> tuple[int]:  # noqa: N802
        del self.host[address]
        return (SUCCESS,)

    def cudaIpcGetMemHandle(self, address: int) -> tuple[int, Any]:  # noqa: N802
        assert address in self.gpu
        handle = ctypes.create_string_buffer(struct.pack("<Q", address), HANDLE_BYTES)
        given = SimpleNamespace(getPtr=lambda: ctypes.addressof(handle))
        return self._given("cudaIpcGetMemHandle", given)

    def cudaMemcpy(self, to: int, of: int, nbytes: int, kind: int) -> tuple[int]:  # noqa: N802
        name = "cudaMemcpyHostToDevice" if kind == TO_GPU else "cudaMemcpyDeviceToHost"
        if name in self.failing:
            return (FAILURE,)
        _check(self.gpu if kind == TO_GPU else self.host, to, nbytes)
        _check(self.host if kind == TO_GPU else self.gpu, of, nbytes)
        ctypes.memmove(to, of, nbytes)
        self.copied[kind] += nbytes
        return (SUCCESS,)

    def _allocated(
        self, name: str, nbytes: int, memory: dict[int, ctypes.Array[Any]]
    ) -> tuple[int, int]:
        allocated = (ctypes.c_ubyte * nbytes)()
        address = ctypes.addressof(allocated)
        if name not in self.failing:
            memory[address] = allocated
        return self._given(name, address)

    def _given(self, name: str, value: Any) -> tuple[int, Any]:
        return (FAILURE, None) if name in self.failing else (SUCCESS, value)


def _check(memory: dict[int, ctypes.Array[Any]], address: int, nbytes: int) -> None:
    assert any(
        start <= address and address + nbytes <= start + len(allocated)
        for start, allocated in memory.items()
    ), "outside of what is allocated, or not where the direction says"
