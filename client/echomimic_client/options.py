"""What every call with a portrait may be told besides."""

from typing import Any, TypedDict

from echomimic_client.choices import FaceBox, Framing, GenerationSettings, VideoFormat

DEFAULT_VIDEO = VideoFormat()
DEFAULT_GENERATION = GenerationSettings()
REQUEST_ID_KEY = "x-request-id"


class CallOptions(TypedDict, total=False):
    """Keyword arguments; each may be left out."""

    face_box: FaceBox | None
    """Where the face is; the preview variant only, and found there if absent."""
    framing: Framing
    """Which part of the portrait is shown."""
    strict: bool
    """Whether warnings about the portrait refuse it."""
    blink_over_speech: bool
    """Whether blinks are laid over speech where the model forgets to blink."""
    video: VideoFormat
    """What the frames shall look like."""
    generation: GenerationSettings
    """How they are generated."""
    client_session_id: str
    """A name for the server's log."""
    request_id: str
    """The call's id in the server's log; the server makes one if absent."""
    deadline_s: float | None
    """When the call shall fail, in seconds from now; None is never."""


def check(options: CallOptions) -> None:
    """Sees that every option is one.

    Raises:
        TypeError: one is not.
    """
    for name in options.keys() - CallOptions.__annotations__.keys():
        raise TypeError(f"unexpected keyword argument {name!r}")


def grpc_options(options: CallOptions, api_key: str | None) -> dict[str, Any]:
    """Returns what gRPC's own calls take."""
    request_id = options.get("request_id")
    metadata = ((REQUEST_ID_KEY, request_id),) if request_id else ()
    return {
        "timeout": options.get("deadline_s"),
        "metadata": (*metadata, *authorization(api_key)),
    }


def authorization(api_key: str | None) -> tuple[tuple[str, str], ...]:
    """Returns the metadata that says who calls."""
    return (("authorization", f"Bearer {api_key}"),) if api_key else ()
