"""Whether a call may be made: what its metadata proves, against what its method takes."""

from collections.abc import Iterable

from server.access.caller import Caller
from server.access.keys import Keys
from server.access.tokens import Tokens
from server.errors import PermissionDeniedError, UnauthenticatedError
from server.settings import Settings

Metadata = Iterable[tuple[str, str | bytes]]

SCHEME = "bearer "
SUBPROTOCOL = "bearer."
"""What a browser, which cannot set headers of a WebSocket, has before a key among the protocols."""


class Access:
    """Lets in whoever has a key or a token; everybody, where neither is asked for."""

    def __init__(self, keys: Keys | None = None, tokens: Tokens | None = None) -> None:
        """Asks for what there is to check."""
        self._keys = keys
        self._tokens = tokens

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked who they are."""
        return self._keys is None and self._tokens is None

    def admit(self, method: str, address: str, metadata: Metadata) -> Caller:
        """Returns whom a call is of.

        Args:
            method: as the log names it.
            address: the client's, which is their name where nobody is asked for another.
            metadata: of the call: its `authorization`, or a WebSocket's `sec-websocket-protocol`.

        Raises:
            UnauthenticatedError: the call does not prove whom it is of.
            PermissionDeniedError: the caller may not call the method.
        """
        if self.is_open:
            return Caller(address, is_named=False)
        secret = _secret(metadata)
        if secret is None:
            raise UnauthenticatedError("is missing; send `Bearer` and an API key or a token")
        caller = self._known(secret)
        if caller is None:
            raise UnauthenticatedError("proves nothing: no such key, or a token not valid now")
        if not caller.may(method):
            raise PermissionDeniedError(method, caller.name)
        return caller

    def _known(self, secret: str) -> Caller | None:
        found = self._keys.caller(secret) if self._keys else None
        return found or (self._tokens.caller(secret) if self._tokens else None)


def access(settings: Settings) -> Access:
    """Returns what the settings ask of callers.

    Raises:
        AccessFileError: a file of theirs cannot be used.
    """
    keys, tokens = settings.api_keys, settings.jwt_keys
    return Access(
        Keys(keys) if keys else None,
        Tokens(tokens, settings.jwt_audience, settings.jwt_issuer) if tokens else None,
    )


def _secret(metadata: Metadata) -> str | None:
    for name, value in metadata:
        if not isinstance(value, str):
            continue
        if name == "authorization" and value.lower().startswith(SCHEME):
            return value[len(SCHEME) :].strip()
        if name == "sec-websocket-protocol":
            for protocol in value.split(","):
                if protocol.strip().startswith(SUBPROTOCOL):
                    return protocol.strip().removeprefix(SUBPROTOCOL)
    return None
