"""API keys: a file of names and digests, in which no key itself stands.

[[key]]
name = "contact-centre"
sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
permissions = ["animate", "info"]    # all of them unless stated
max_streams = 2                      # as --max-streams-per-caller unless stated
max_avatars = 5                      # as --max-avatars-per-caller unless stated
"""

import hashlib
import re
import secrets
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from server.access.caller import PERMISSIONS, Caller, Permission
from server.access.files import AccessFileError, WatchedFile

KEY_BYTES = 32
"""So many random ones that a digest without salt cannot be searched for."""
NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
Name = Annotated[str, StringConstraints(pattern=f"^{NAME.pattern}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    sha256: Digest
    permissions: frozenset[Permission] = PERMISSIONS
    max_streams: int | None = Field(None, ge=1)
    max_avatars: int | None = Field(None, ge=0)

    @property
    def caller(self) -> Caller:
        return Caller(self.name, self.permissions, self.max_streams, self.max_avatars)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: tuple[_Entry, ...]


class Keys:
    """The keys of a file, as it is now."""

    def __init__(self, path: Path) -> None:
        """Reads the file.

        Raises:
            AccessFileError: it cannot be used.
        """
        self._file = WatchedFile((path,), lambda: _read(path))

    def caller(self, key: str) -> Caller | None:
        """Returns whose a key is, or None where it is nobody's."""
        return self._file.current().get(digest(key))


def digest(key: str) -> str:
    """Returns what a file has of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key() -> str:
    """Returns a key that nobody has."""
    return secrets.token_urlsafe(KEY_BYTES)


def _read(path: Path) -> Mapping[str, Caller]:
    try:
        entries = _File.model_validate(tomllib.loads(path.read_text())).key
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AccessFileError(f"{path}: {where}: {first['msg']}") from error
    except (OSError, ValueError) as error:
        raise AccessFileError(f"{path} cannot be read as keys: {error}") from error
    callers = {entry.sha256: entry.caller for entry in entries}
    if len(callers) < len(entries):
        raise AccessFileError(f"{path}: a key stands there twice")
    return callers
