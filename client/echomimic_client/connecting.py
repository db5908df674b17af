"""How the program connects: by variables, since everybody may read a command's words."""

import os
from pathlib import Path

import grpc

from echomimic_client.blocking import AvatarClient
from echomimic_client.errors import AddressError

API_KEY = "ANIMATE_API_KEY"
"""A key or a token, where the server asks for one."""
CA = "ANIMATE_CA"
"""The authority of the server's certificate, a PEM file; `system` means this machine's own ones."""


def connected(server: str) -> AvatarClient:
    """Returns a client: by TLS if there is an authority, with a key if there is one.

    Raises:
        AddressError: the address cannot be meant, or the authority cannot be read.
    """
    authority = os.environ.get(CA)
    credentials = _credentials(authority) if authority else None
    return AvatarClient(server, credentials=credentials, api_key=os.environ.get(API_KEY))


def _credentials(authority: str) -> grpc.ChannelCredentials:
    if authority == "system":
        return grpc.ssl_channel_credentials()
    try:
        return grpc.ssl_channel_credentials(Path(authority).read_bytes())
    except OSError as error:
        raise AddressError(f"{CA} names {authority}, which cannot be read: {error}") from error
