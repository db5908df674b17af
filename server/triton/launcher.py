"""Becomes another program that the kernel kills when the parent process ends.

    python -I launcher.py PARENT_PID PROGRAM [ARGUMENT...]

A parent that is killed with SIGKILL cannot stop its children, so the child asks for it itself,
before it becomes the program: a function run between fork and exec (`preexec_fn`) is not safe in a
process with threads. The kernel counts the thread that started this process as its parent.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent_pid: int, command: list[str]) -> None:
    """Asks for the signal and becomes ``command``; it does not return."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        sys.exit("the parent process ended first")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
