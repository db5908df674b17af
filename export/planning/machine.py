"""How much memory there is: the machine's, or as much of it as a container may take."""

import re
from pathlib import Path

MEMORY = Path("proc/meminfo")
LIMITS = (
    Path("sys/fs/cgroup/memory.max"),
    Path("sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where a container finds its limit, with cgroups of version 2 and of version 1."""


def machine_bytes(root: Path = Path("/")) -> int:
    """Returns the memory that this process could take if it were alone; ``root`` is the system's.

    It says nothing about what is free just now, so that the same machine plans the same export.
    """
    (total,) = re.findall(r"MemTotal:\s+(\d+) kB", (root / MEMORY).read_text())
    return min([1024 * int(total), *_limits(root)])


def _limits(root: Path) -> list[int]:
    files = [root / path for path in LIMITS]
    texts = [file.read_text().strip() for file in files if file.is_file()]
    # Version 2 has the word "max" where there is no limit.
    return [int(text) for text in texts if text.isdecimal()]
