"""pip's settings on this machine, for pip in a build: as a file that no image keeps."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

SETTING = re.compile(r"^[\w:]+\.([\w-]+)=(.*)$")


def settings() -> dict[str, str]:
    """Returns what pip is set to here, by option; what goes before another stands last."""
    command = (sys.executable, "-m", "pip", "config", "list")
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    order = ("site", "global", "install", ":env:")
    lines = sorted(listed.splitlines(), key=lambda line: order.index(line.partition(".")[0]))
    matches = filter(None, map(SETTING.match, lines))
    return {option: str(ast.literal_eval(value)) for option, value in map(re.Match.groups, matches)}


def as_file(options: dict[str, str]) -> str:
    """Returns a pip.conf."""
    lines = [f"{name} = {' '.join(value.split())}" for name, value in options.items()]
    return "\n".join(["[global]", *lines]) + "\n"


def places(options: dict[str, str]) -> Iterable[Path]:
    """Returns what of this machine's files the settings name, for pip to see in a build, too."""
    words = [word.removeprefix("file://") for value in options.values() for word in value.split()]
    named = [Path(word) for word in words if word.startswith("/")]
    # A local index lies beside its files.
    return dict.fromkeys(path.parent if path.name == "simple" else path for path in named)
