"""A process that hangs in an execution: its main thread stands still, the others go on.

SIGSTOP is not that: it stops the thread, too, by which a stub tells Triton that it lives.
"""

import ctypes
import os

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207


def freeze(pid: int) -> None:
    """Stops the main thread of a process until the calling thread ends.

    Raises:
        OSError: the system does not allow it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if libc.ptrace(request, pid, None, None) != 0:
            raise OSError(ctypes.get_errno(), f"ptrace of {pid}")
    # Without waiting it may still be on its way.
    os.waitpid(pid, 0x40000000)
