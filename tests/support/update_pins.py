"""Raises the pins in pyproject.toml to the newest versions that work together; `make update`.

All of them are resolved at once, by pip. What tritonclient holds back stays as it is: pip would try
for a long time, every version of gRPC's packages with every other. Triton's environment and the
face detector are pinned elsewhere and stay: what they hold is held for a reason that no resolver
knows.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence

from tests.support.paths import ROOT

PYPROJECT = ROOT / "pyproject.toml"
HELD = re.compile(r"grpcio.*|protobuf")
PIN = re.compile(r'"([\w.-]+)(\[[\w,-]+\])?==([\w.]+)"')


def at_least(text: str) -> list[str]:
    """Returns what a pyproject.toml pins, each once, as what may be raised but not lowered."""
    return sorted(
        {
            f"{name}{extras}{'==' if HELD.fullmatch(name) else '>='}{version}"
            for name, extras, version in PIN.findall(text)
        }
    )


def resolve(requirements: Sequence[str], options: Sequence[str]) -> dict[str, str]:
    """Returns the versions that pip would install together into an empty environment, by name."""
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command = [*pip, "--report", "-", *options, *requirements]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    installed = (package["metadata"] for package in report["install"])
    return {normalised(package["name"]): package["version"] for package in installed}


def pinned(text: str, versions: Mapping[str, str]) -> str:
    """Returns the pyproject.toml with other versions; a build's own suffix (+cpu) is no part."""

    def pin(match: re.Match[str]) -> str:
        name, extras, _version = match.groups("")
        return f'"{name}{extras}=={versions[normalised(name)].partition("+")[0]}"'

    return PIN.sub(pin, text)


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(options: Sequence[str]) -> None:
    before = PYPROJECT.read_text()
    after = pinned(before, resolve(at_least(before), options))
    PYPROJECT.write_text(after)
    for old, new in zip(before.splitlines(), after.splitlines(), strict=True):
        if old != new:
            print(old.strip(' ",'), "->", new.strip(' ",').partition("==")[2])


if __name__ == "__main__":
    main(sys.argv[1:])
