"""What can go wrong on the client's side.

ClientError
|- AudioFileError       a file cannot be read as speech
|- VoiceError           a text cannot be spoken
|- AddressError         an address that cannot be meant
|- CallEndedError       something was sent on a call that has ended
|- ScreenError          there is nothing to play a stream on, or it was closed
|- MissingExtraError    this installation lacks an optional package
`- CallError            the server refused a call or broke it off, or cannot be reached
"""

import dataclasses

import grpc


class ClientError(Exception):
    """Anything this package raises on purpose."""


class AudioFileError(ClientError):
    """A file cannot be read as speech."""


class VoiceError(ClientError):
    """A text cannot be spoken."""


class AddressError(ClientError):
    """An address that cannot be meant."""


class CallEndedError(ClientError):
    """Something was sent on a call that has ended; its reader learns why."""


class ScreenError(ClientError):
    """There is nothing to play a stream on, or it was closed."""


class MissingExtraError(ClientError):
    """This installation lacks an optional package."""


@dataclasses.dataclass(eq=False)
class CallError(ClientError):
    """A call failed. Compare ``reason`` with constants; ``message`` is for people."""

    code: grpc.StatusCode
    message: str
    reason: str | None = None
    """ErrorInfo's reason, as NO_FREE_STREAM; None where the server did not speak itself."""
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    """ErrorInfo's metadata."""
    field: str | None = None
    """The field of the request that was refused."""
    retry_after_s: float | None = None
    """When to try again."""

    def __str__(self) -> str:
        return self.message
