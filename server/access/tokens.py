"""JWT bearer tokens (RFC 7519), signed by whoever signs people and programs in."""

from collections.abc import Mapping
from pathlib import Path

import jwt
from jwt.types import Options
from pydantic import BaseModel, Field

from server.access.caller import PERMISSIONS, Caller
from server.access.files import AccessFileError, WatchedFile

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
"""By public keys alone: with a shared secret whoever checks tokens could make them."""
REQUIRED: Options = {"require": ["exp", "sub"]}


class _Claims(BaseModel):
    sub: str = Field(min_length=1, max_length=256)
    scope: str | None = None
    max_streams: int | None = Field(None, ge=1)
    max_avatars: int | None = Field(None, ge=0)

    @property
    def caller(self) -> Caller:
        stated = PERMISSIONS if self.scope is None else self.scope.split()
        permissions = PERMISSIONS.intersection(stated)
        return Caller(self.sub, permissions, self.max_streams, self.max_avatars)


class Tokens:
    """Checks tokens by the public keys of a file, a JWK set (RFC 7517)."""

    def __init__(self, path: Path, audience: str | None, issuer: str | None) -> None:
        """Reads the file.

        Args:
            path: of the set; a token names its key by `kid` where there are several.
            audience: whom a token has to be for, as `aud`; None asks nothing.
            issuer: whom it has to be of, as `iss`; None asks nothing.

        Raises:
            AccessFileError: it cannot be used.
        """
        self._file = WatchedFile((path,), lambda: _read(path))
        self._audience = audience
        self._issuer = issuer

    def caller(self, token: str) -> Caller | None:
        """Returns whose a token is, or None where it proves nothing.

        `sub` is the caller's name, `scope` (RFC 8693) the permissions, all of them unless stated,
        and `max_streams` and `max_avatars` limits of their own.
        """
        options: Options = {**REQUIRED, "verify_aud": self._audience is not None}
        try:
            key = self._key(token)
            claims = jwt.decode(
                token,
                key,
                [key.algorithm_name],
                options=options,
                audience=self._audience,
                issuer=self._issuer,
            )
            return _Claims.model_validate(claims).caller
        except (jwt.InvalidTokenError, KeyError, ValueError):
            return None

    def _key(self, token: str) -> jwt.PyJWK:
        keys = self._file.current()
        return keys[jwt.get_unverified_header(token).get("kid")] if len(keys) > 1 else _only(keys)


def _only(keys: Mapping[str | None, jwt.PyJWK]) -> jwt.PyJWK:
    (key,) = keys.values()
    return key


def _read(path: Path) -> Mapping[str | None, jwt.PyJWK]:
    try:
        keys = jwt.PyJWKSet.from_json(path.read_text()).keys
    except (OSError, ValueError, AttributeError, jwt.PyJWTError) as error:
        raise AccessFileError(f"{path} cannot be read as a JWK set: {error}") from error
    for key in keys:
        if key.algorithm_name not in ALGORITHMS:
            allowed = ", ".join(ALGORITHMS)
            raise AccessFileError(f"{path}: a key is for {key.algorithm_name}; allowed: {allowed}")
    by_id = {key.key_id: key for key in keys}
    if len(by_id) < len(keys):
        raise AccessFileError(f"{path}: several keys need a `kid` each")
    return by_id
