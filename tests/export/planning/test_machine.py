"""How much memory an export plans for."""

from pathlib import Path

import pytest

from export.planning.machine import LIMITS, MEMORY, machine_bytes

V2, V1 = LIMITS


def machine(root: Path, **files: str) -> Path:
    texts = {
        MEMORY: "MemFree: 1 kB\nMemTotal:       24000000 kB\n",
        V2: files.get("v2"),
        V1: files.get("v1"),
    }
    for path, text in texts.items():
        if text is not None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 24_576_000_000),
        ({"v2": "max\n"}, 24_576_000_000),
        ({"v2": "8000000000\n"}, 8_000_000_000),
        ({"v1": "8000000000\n"}, 8_000_000_000),
        # Version 1 has a number where there is no limit, too.
        ({"v1": "9223372036854771712\n"}, 24_576_000_000),
    ],
)
def test_a_container_has_what_its_limit_leaves_of_the_machine(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    assert machine_bytes(machine(tmp_path, **files)) == expected


def test_this_machine_has_memory() -> None:
    assert machine_bytes() > 1e9
