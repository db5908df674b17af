"""What some settings may be: how their words are read, and why others are refused."""

import re
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from echomimic_client.voice import DEFAULT_VOICE, NoVoiceError, load_voice
from server.triton.contract import FRAMES_PER_LATENT

MIN_FRAME_RATE, MAX_FRAME_RATE = 8, 30
FRAME_RATE_DENOMINATORS = (1, 1001)
NAMED_FRAME_RATES = {"23.976": Fraction(24_000, 1001), "29.97": Fraction(30_000, 1001)}
HOST_AND_PORT = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+(%\w+)?\]):\d{1,5}")


def _whole_window(frames: int) -> int:
    if (frames - 1) % FRAMES_PER_LATENT:
        raise ValueError(f"a window has 4k + 1 frames, as 17 or 33; got {frames}")
    return frames


def _separated_by_commas(words: Any) -> Any:
    return words.split(",") if isinstance(words, str) else words


def _never_shorter(ladder: tuple[int, ...]) -> tuple[int, ...]:
    if not ladder or list(ladder) != sorted(ladder):
        raise ValueError(
            "every window is at least as long as the one before, as in 9,17,33; got "
            f"'{','.join(map(str, ladder))}'"
        )
    return ladder


def read_frame_rate(text: str) -> Fraction:
    """Reads a rate of frames, as 15, 23.976, 29.97 or 30000/1001.

    Raises:
        ValueError: it is none that is offered.
    """
    try:
        rate = NAMED_FRAME_RATES.get(text) or Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate.denominator in FRAME_RATE_DENOMINATORS and MIN_FRAME_RATE <= rate <= MAX_FRAME_RATE:
        return rate
    raise ValueError(
        f"send a whole number of {MIN_FRAME_RATE} to {MAX_FRAME_RATE} frames a second, 23.976 or "
        f"29.97; got '{text}'"
    )


def _stating_a_frame_rate(text: str) -> str:
    read_frame_rate(text)
    return text


def _hosts_and_ports(urls: str) -> str:
    for url in urls.split(",") if urls else ():
        if not HOST_AND_PORT.fullmatch(url):
            raise ValueError(
                "each Triton is the host:port of its gRPC, as triton:8001, 10.0.0.7:8001 or "
                f"[::1]:8001, and several are separated by commas alone; got '{url}'"
            )
    return urls


def _speaking(voice: str) -> str:
    try:
        # The voice that ships is an extra: whoever sends a text is told where it is missing.
        if voice != DEFAULT_VOICE:
            load_voice(voice)
    except NoVoiceError as error:
        raise ValueError(str(error)) from error
    return voice


def _traced(endpoint: str) -> str:
    if not endpoint.startswith(("http://", "https://")):
        raise ValueError(f"begins with http:// or https://; got '{endpoint}'")
    try:
        version("opentelemetry-exporter-otlp-proto-grpc")
    except PackageNotFoundError:
        raise ValueError("needs the extra `traces`, as `make traces` installs it") from None
    return endpoint


FrameRate = Annotated[str, Field(coerce_numbers_to_str=True), AfterValidator(_stating_a_frame_rate)]
OtlpEndpoint = Annotated[str, AfterValidator(_traced)]
TritonUrls = Annotated[str, AfterValidator(_hosts_and_ports)]
Voice = Annotated[str, AfterValidator(_speaking)]
WindowFrames = Annotated[int, Field(ge=5, le=257), AfterValidator(_whole_window)]
WindowLadder = Annotated[
    tuple[WindowFrames, ...],
    NoDecode,
    BeforeValidator(_separated_by_commas),
    AfterValidator(_never_shorter),
]
