"""What `python -m server` does besides serving: says what would be in force, and makes keys."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from server.access.keys import NAME, digest, new_key
from server.origins import origins
from server.settings import Settings


def stated(words: list[str]) -> Settings | None:
    """Returns the settings, or None where one cannot be used, and has said why."""
    try:
        return CliApp.run(Settings, cli_args=words)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
    except ValidationError as error:
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"]) or "settings"
            print(f"error: {where}: {problem['msg']}", file=sys.stderr)
    return None


def config(words: list[str]) -> int:
    """Prints every setting with its value and where that comes from, as a file for `--config`."""
    settings = stated(words)
    if settings is None:
        return 2
    by = origins(os.environ, words, settings.config)
    for name, value in settings.model_dump(mode="json").items():
        # A file names no file; and TOML has no word for nothing.
        comment = "# " if value is None or name == "config" else ""
        print(f"{comment}{name} = {json.dumps(value)}  # {by.get(name, 'default')}")
    return 0


def make_key(words: list[str]) -> int:
    """Prints a new key, and the entry of its name for the file that `--api-keys` names."""
    if len(words) != 1 or not NAME.fullmatch(words[0]):
        print(f"usage: python -m server new-key NAME, as {NAME.pattern}", file=sys.stderr)
        return 2
    key = new_key()
    print(f"# The key, which stands nowhere else: {key}", file=sys.stderr)
    print(f'[[key]]\nname = "{words[0]}"\nsha256 = "{digest(key)}"')
    return 0


COMMANDS: Mapping[str, Callable[[list[str]], Any]] = {"config": config, "new-key": make_key}
