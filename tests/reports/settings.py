"""Every setting of the gateway: writes docs/settings.md.

python -m tests.reports.settings
"""

import json

from server.settings import ENVIRONMENT_PREFIX, PLAIN_VARIABLES, Settings
from tests.reports import markdown

EXPLANATION = """A setting is an option of `python -m server`, a variable of the environment or a
line of the TOML or YAML file that `--config` names; that is the order in which they win.
`max_streams` is `--max-streams 8`, `ECHOMIMIC_MAX_STREAMS=8` and `max_streams = 8`, in YAML
`max_streams: 8`. A switch is switched off by `--no-kserve`. `python -m server config`, with the
same options, prints what would be in force and where each value comes from, as such a file. What
cannot be used is refused before anything starts, and a variable `ECHOMIMIC_...` that is no setting
is named in the log. [configuration.md](configuration.md) tells what the important ones are for."""


def page() -> tuple[str, ...]:
    """Returns the parts of the page."""
    defaults = Settings.model_construct().model_dump(mode="json")
    also = {name: f"; also by `{variable}`" for variable, name in PLAIN_VARIABLES.items()}
    rows = [
        (
            f"`{name}`",
            "" if defaults[name] is None else f"`{json.dumps(defaults[name])}`",
            f"{(field.description or '').removesuffix('.')}{also.get(name, '')}",
        )
        for name, field in Settings.model_fields.items()
    ]
    table = markdown.table(("setting", "default", "meaning"), rows)
    note = f"Variables have the prefix `{ENVIRONMENT_PREFIX}`."
    return "Settings", EXPLANATION, table, note


def main() -> None:
    markdown.write("settings.md", "settings", *page())


if __name__ == "__main__":
    main()
