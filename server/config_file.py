"""The file that states settings."""

import tomllib
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource, SettingsError

YAML = (".yaml", ".yml")


def read_config(path: Path) -> dict[str, Any]:
    """Returns what a file states: YAML if it is called so, or else TOML.

    Raises:
        SettingsError: it is no such file.
    """
    kind, load = ("YAML", yaml.safe_load) if path.suffix in YAML else ("TOML", tomllib.loads)
    try:
        stated: Any = load(path.read_text()) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read as {kind}: {error}") from error
    if not isinstance(stated, dict) or not all(isinstance(name, str) for name in stated):  # pyright: ignore[reportUnknownVariableType]
        raise SettingsError(f"{path} states no settings; write lines as max_streams: 8")
    return stated  # pyright: ignore[reportUnknownVariableType]


class ConfigFile(PydanticBaseSettingsSource):
    """The file that `config` names, by the command line or the environment."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Has nothing to say of single fields."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Returns what the file states; nothing where none is named."""
        path = self.current_state.get("config")
        return read_config(Path(path)) if path else {}
