"""Avatars on disk: what a client sent, so that any gateway that has the folder can prepare it.

    <avatar id>.json      whose it is and what was asked for; changed when it is used
    <avatar id>.portrait  the file as it was sent

Nothing that a client names is opened: ids are compared with the names in the folder.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from server.pictures.face import FaceBox
from server.pictures.framing import Framing
from server.sessions.sitter import Avatar, Sitter

FACTS, PORTRAIT = ".json", ".portrait"

log = structlog.get_logger()


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: str
    size: tuple[int, int]
    created_s: float
    face_box: FaceBox | None
    framing: Framing


class AvatarFolder:
    """Keeps avatars in a folder."""

    def __init__(self, path: Path) -> None:
        """Uses a folder that exists."""
        self._path = path

    def used_s(self) -> dict[str, float]:
        """Returns when each avatar was used last, by whomever, in seconds since 1970."""
        found: dict[str, float] = {}
        for entry in os.scandir(self._path):
            if entry.name.endswith(FACTS):
                with suppress(FileNotFoundError):
                    found[entry.name.removesuffix(FACTS)] = entry.stat().st_mtime
        return found

    def save(self, avatar: Avatar, sitter: Sitter) -> None:
        """Writes an avatar, readable for this user alone; others see it whole or not at all."""
        facts = _Facts(
            owner=avatar.owner,
            size=avatar.size,
            created_s=avatar.created_s,
            face_box=sitter.face_box,
            framing=sitter.framing,
        )
        self._write(avatar.avatar_id + PORTRAIT, sitter.data)
        self._write(avatar.avatar_id + FACTS, facts.model_dump_json().encode())
        self.used(avatar.avatar_id, avatar.created_s)

    def load(self, avatar_id: str) -> Avatar | None:
        """Returns an avatar that is there; None if it cannot be read, or no longer is."""
        facts = self._facts(avatar_id)
        return facts and Avatar(avatar_id, facts.owner, facts.size, facts.created_s)

    def sitter(self, avatar: Avatar) -> Sitter | None:
        """Returns the portrait of an avatar, if it can still be read."""
        facts = self._facts(avatar.avatar_id)
        try:
            data = (self._path / (avatar.avatar_id + PORTRAIT)).read_bytes()
        except FileNotFoundError:
            return None
        return facts and Sitter(data, "avatar_id", facts.face_box, facts.framing)

    def used(self, avatar_id: str, when_s: float) -> None:
        """Says when an avatar was used, in seconds since 1970."""
        try:
            os.utime(self._path / (avatar_id + FACTS), (when_s, when_s))
        except FileNotFoundError:
            log.info("an avatar that is used was deleted elsewhere")

    def remove(self, avatar_id: str) -> None:
        """Deletes an avatar, which may be gone."""
        for suffix in (FACTS, PORTRAIT):
            (self._path / (avatar_id + suffix)).unlink(missing_ok=True)

    def _facts(self, avatar_id: str) -> _Facts | None:
        path = self._path / (avatar_id + FACTS)
        try:
            return _Facts.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            log.warning("an avatar's file cannot be read", file=path.name)
            return None

    def _write(self, name: str, data: bytes) -> None:
        # A file is made for its user alone, and is gone if the disk is full.
        with tempfile.TemporaryDirectory(dir=self._path) as beside:
            whole = Path(beside) / name
            whole.touch(mode=0o600)
            whole.write_bytes(data)
            os.replace(whole, self._path / name)
