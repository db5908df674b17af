"""Memory that stays where it is over hours of streaming.

glibc's malloc learns to keep freed buffers of up to 32 MB, in a heap for each thread. Windows are
such buffers, and their sizes vary, so heaps fray and a process grows for an hour before it settles.
With a fixed threshold large buffers go back to the system as soon as they are freed.
"""

import ctypes

LARGE_BYTES = 1 << 20
HEAPS = 2
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8

ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": str(LARGE_BYTES), "MALLOC_ARENA_MAX": str(HEAPS)}
"""The same for a process that is started."""


def keep_small() -> None:
    """Has this process return large buffers when they are freed; to be called at its start.

    Other C libraries than glibc have no such switch and are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_ARENA_MAX, HEAPS)
