"""Text to speech: a text in, PCM out as it is spoken."""

# The libraries' own annotations are partial.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.types import Send

from echomimic_client.voice import DEFAULT_VOICE, NoVoiceError, load_voice
from server.api.calls import Call
from server.errors import (
    CapacityError,
    ExecutionTimeoutError,
    InvalidFieldError,
    MissingExtraError,
)
from server.http.post import Post
from server.http.requests import checked
from server.sessions.gateway import Gateway
from server.sessions.jobs import MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ
from server.settings import Settings

MAX_SPEECHES = 16
"""Texts that are spoken by turns."""
RETRY_AFTER_S = 1.0
SAMPLE_BYTES = 2
S16 = (-32768, 32767)
PIECE_BYTES = 1 << 16


class SpeechBody(BaseModel, extra="forbid"):
    """The JSON of `/v1/speech`."""

    text: str = Field(min_length=1, description="What to say.")
    sample_rate_hz: int | None = Field(
        None,
        ge=MIN_SAMPLE_RATE_HZ,
        le=MAX_SAMPLE_RATE_HZ,
        description="Samples a second of the answer; left out for the voice's own.",
    )


@dataclass(frozen=True, slots=True)
class Piece:
    """A bit of speech: PCM, s16le, mono."""

    sample_rate_hz: int
    data: bytes


class Speaker:
    """A voice that speaks for several callers, a piece at a time, so that none keeps it."""

    def __init__(self, settings: Settings) -> None:
        """Begins silent."""
        self._voice = settings.voice
        self._timeout_s = settings.inference_timeout_s
        self._turn = asyncio.Lock()
        self.active = 0
        """Texts that are being spoken."""

    async def speak(self, text: str, sample_rate_hz: int | None) -> AsyncGenerator[Piece]:
        """Yields a text as it is spoken.

        Raises:
            CapacityError: too many texts are being spoken.
            ExecutionTimeoutError: the voice took too long.
            MissingExtraError: the voice is not installed.
        """
        if self.active >= MAX_SPEECHES:
            raise CapacityError(
                "max_speeches", f"all {MAX_SPEECHES} places are taken", RETRY_AFTER_S
            )
        self.active += 1
        try:
            pieces = _pieces(self._voice, text, sample_rate_hz)
            while (piece := await self._next(pieces)) is not None:
                yield piece
        finally:
            self.active -= 1

    async def _next(self, pieces: Iterator[Piece]) -> Piece | None:
        try:
            async with self._turn, asyncio.timeout(self._timeout_s):
                return await asyncio.to_thread(next, pieces, None)
        except TimeoutError as error:
            raise ExecutionTimeoutError("the voice", self._timeout_s) from error


def _pieces(name: str, text: str, asked_hz: int | None) -> Iterator[Piece]:
    """Yields what a voice says of a text, at the rate asked for; none of it is empty."""
    try:
        voice = load_voice(name)
    except NoVoiceError as error:
        assert name == DEFAULT_VOICE, "another one was loaded when the settings were read"
        raise MissingExtraError("text to speech", "voice") from error
    own_hz, pieces = voice(text)
    rate = asked_hz or own_hz
    # In floating point: soxr adds noise to integers. At the same rate it changes nothing.
    stream = soxr.ResampleStream(own_hz, rate, 1, dtype="float32")
    for data, last in _whole_samples(pieces):
        samples = np.frombuffer(data, "<i2").astype(np.float32)
        resampled = np.asarray(stream.resample_chunk(samples, last=last))
        if len(resampled):
            yield Piece(rate, np.rint(np.clip(resampled, *S16)).astype("<i2").tobytes())


def _whole_samples(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yields samples in pieces that are not long, and whether one is the last."""
    rest = b""
    for piece in pieces:
        data = rest + piece
        whole = len(data) - len(data) % SAMPLE_BYTES
        rest = data[whole:]
        for start in range(0, whole, PIECE_BYTES):
            yield data[start : min(start + PIECE_BYTES, whole)], False
    yield b"", True


class Speech(Post):
    """Answers with PCM, as it is spoken."""

    def __init__(self, request: Request, send: Send, settings: Settings, speaker: Speaker) -> None:
        """Begins with nothing read and nothing sent."""
        super().__init__(request, send, settings)
        self._speaker = speaker

    async def read_request(self, body: Mapping[str, Any]) -> SpeechBody:
        """Returns what a body asks for."""
        asked = checked(SpeechBody, body)
        limit = self._settings.max_speech_bytes
        if len(asked.text.encode()) > limit:
            raise InvalidFieldError("text", f"is longer than {limit} bytes; send it in parts")
        return asked

    async def work(self, gateway: Gateway, call: Call) -> None:
        """Speaks."""
        with gateway.admission.opening(call.caller):
            asked = await call.read(SpeechBody, self._settings.start_timeout_s)
            assert asked is not None, "a request's first message is its body"
        async with aclosing(self._speaker.speak(asked.text, asked.sample_rate_hz)) as pieces:
            async for piece in pieces:
                await call.send(piece)
        if not self._begun:
            raise InvalidFieldError("text", "holds nothing that can be spoken")

    async def write(self, message: Piece) -> None:
        """Sends a piece."""
        kind = f"audio/pcm; rate={message.sample_rate_hz}; channels=1; encoding=s16le"
        await self._begin({"content-type": kind})
        await self._add(message.data)
