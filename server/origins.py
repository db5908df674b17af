"""Where settings come from, and words and variables that look like settings and are none."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from server.config_file import read_config
from server.settings import ENVIRONMENT_PREFIX, PLAIN_VARIABLES, Settings

OF_WINDOWS = ("first_window_frames", "window_frames")
"""Settings that `window_ladder` has taken the place of."""


def changed(settings: Settings) -> dict[str, Any]:
    """Returns what was not left at its default, by name, in JSON's types."""
    return settings.model_dump(mode="json", exclude_defaults=True)


def origins(
    variables: Mapping[str, str], words: Iterable[str], config: Path | None = None
) -> dict[str, str]:
    """Returns where each setting comes from, by name, but for those left at their defaults.

    Args:
        variables: of the environment.
        words: of the command line.
        config: the file that states settings, if there is one.
    """
    options = {word.partition("=")[0] for word in words}
    ours = {name.upper(): name for name in variables}
    plain = {name: variable for variable, name in PLAIN_VARIABLES.items()}
    stated = read_config(config) if config else {}
    found: dict[str, str] = {}
    for name in Settings.model_fields:
        option = "--" + name.replace("_", "-")
        variable = f"{ENVIRONMENT_PREFIX}{name.upper()}"
        said = options.intersection((option, option.replace("--", "--no-", 1)))
        if said:
            found[name] = said.pop()
        elif variable in ours:
            found[name] = ours[variable]
        elif name in stated:
            found[name] = str(config)
        elif variables.get(plain.get(name, "")):
            found[name] = plain[name]
    return found


def mistyped(variables: Iterable[str]) -> Iterator[str]:
    """Yields a line for every environment variable that looks like a setting and is none."""
    known = [name.upper() for name in Settings.model_fields]
    for variable in sorted(variables):
        name = variable.upper().removeprefix(ENVIRONMENT_PREFIX)
        if variable.upper() == name or name in known:
            continue
        if name.lower() in OF_WINDOWS:
            remedy = f"write {ENVIRONMENT_PREFIX}WINDOW_LADDER=17,33"
            yield f"{variable} is no setting any more; {remedy}"
        else:
            near = get_close_matches(name, known, n=1)
            remedy = "".join(f"; did you mean {ENVIRONMENT_PREFIX}{other}?" for other in near)
            yield f"{variable} is no setting{remedy}"


def outdated(words: Iterable[str]) -> Iterator[str]:
    """Yields a line for every word of the command line that was an option once."""
    for option in (word.partition("=")[0] for word in words):
        if option.startswith("--") and option[2:].replace("-", "_") in OF_WINDOWS:
            yield f"{option} is no option any more; write --window-ladder=17,33"
