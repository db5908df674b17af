"""What an operator should hear of at start: ways in that are not guarded."""

import ipaddress
from collections.abc import Iterator

from server.settings import Settings


def risks(settings: Settings) -> Iterator[str]:
    """Yields a line for each."""
    if _is_loopback(settings.host):
        return
    where = f"the gateway listens on {settings.host}, which others may reach"
    if settings.tls_certificate is None:
        yield (
            f"{where}, without TLS: portraits, speech and keys travel readably; "
            "state --tls-certificate and --tls-key, or put a proxy before it that has TLS"
        )
    if not (settings.api_keys or settings.jwt_keys or settings.tls_client_ca):
        yield f"{where}, and everybody is let in; state --api-keys, --jwt-keys or --tls-client-ca"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
