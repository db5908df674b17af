"""TLS: the server's certificate, and whose certificates clients need, as the files are now."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from server.access.files import AccessFileError, WatchedFile
from server.settings import Settings


@dataclass(frozen=True)
class Certificates:
    """What TLS goes by, as PEM."""

    chain: bytes
    """The server's certificate, and those between it and its root."""
    key: bytes
    client_ca: bytes | None
    """Who signs the certificates that clients have to show; None asks for none."""


class Tls:
    """Certificates that are read again when their files change, at the next handshake."""

    def __init__(self, chain: Path, key: Path, client_ca: Path | None) -> None:
        """Reads the files.

        Raises:
            AccessFileError: they cannot be used.
        """
        self._paths = (chain, key, client_ca)
        watched = tuple(path for path in self._paths if path is not None)
        self._files = WatchedFile(watched, self._read)

    @property
    def asks_clients(self) -> bool:
        """Whether clients have to show certificates."""
        return self._paths[2] is not None

    def current(self) -> Certificates:
        """Returns what the files hold."""
        return self._files.current()[0]

    def context(self) -> ssl.SSLContext:
        """Returns what HTTP listens with; connections that come later go by later files."""
        context = self._files.current()[1]
        context.sni_callback = self._shaking_hands
        return context

    def _shaking_hands(
        self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        connection.context = self._files.current()[1]

    def _read(self) -> tuple[Certificates, ssl.SSLContext]:
        chain, key, client_ca = self._paths
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(chain, key)
            if client_ca:
                context.load_verify_locations(client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
            held = Certificates(
                chain.read_bytes(), key.read_bytes(), client_ca.read_bytes() if client_ca else None
            )
        except OSError as error:
            names = ", ".join(str(path) for path in self._paths if path)
            raise AccessFileError(f"TLS cannot use {names}: {error}") from error
        return held, context


def tls(settings: Settings) -> Tls | None:
    """Returns the TLS that the settings ask for, if they do.

    Raises:
        AccessFileError: a file of theirs cannot be used.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Tls(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
