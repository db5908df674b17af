"""Speech to frames and a film by one stream, as the command line and the demo do."""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from echomimic_client.audio import AudioClip, AudioFormat
from echomimic_client.blocking import AvatarClient
from echomimic_client.choices import IdleMode
from echomimic_client.errors import MissingExtraError
from echomimic_client.film_kinds import FilmKind
from echomimic_client.options import CallOptions
from echomimic_client.pacing import paced
from echomimic_client.pictures import FrameDecoder
from echomimic_client.playback import playable_latency_s
from echomimic_client.results import Frame, Picture, ServerWarning, Started
from echomimic_client.sources import Portrait
from echomimic_client.speaking import SpokenText
from echomimic_client.streams import Animation

MAX_AHEAD_S = 120.0
"""Audio sent whose frames have not come; servers refuse to keep much more."""
OnPicture = Callable[[Frame, Picture], None]


@dataclass(frozen=True, slots=True)
class Recording:
    """A finished film, and how it came."""

    film: bytes
    """Empty where no film was asked for."""
    started: Started
    warnings: tuple[ServerWarning, ...]
    frames: int
    first_frame_s: float
    """From the first audio sent to the first frame received."""
    playable_latency_s: float
    """From the first audio sent to the moment from which playback never waits for a frame."""
    realtime_factor: float
    """Seconds of audio for each second from the first audio sent to the last frame received."""


def record(
    client: AvatarClient,
    portrait: Portrait,
    speech: AudioClip | SpokenText,
    *,
    film: FilmKind | None,
    live: bool,
    chunk_ms: int,
    idle: IdleMode | None = None,
    on_picture: OnPicture,
    on_started: Callable[[Started], object] | None = None,
    buffer_s: float | None = None,
    **options: Unpack[CallOptions],
) -> Recording:
    """Animates a portrait and films it with the sound of what is said.

    Args:
        client: a connection to the server.
        portrait: what `AvatarClient.animate` takes.
        speech: a clip, or a text, which is animated while it is spoken.
        film: the kind of film to make of it, if any.
        live: send it at the speed of speaking, not at once.
        chunk_ms: length of a piece of audio.
        idle: what is filmed until the speech begins.
        on_picture: is shown every frame as it comes.
        on_started: is told the settings in force, before the first frame.
        buffer_s: how much is made before it is played, for the server to warn where it is too slow.
        options: see `CallOptions`.

    Raises:
        MissingExtraError: nothing here writes films, or decodes H.264 frames.
        CallError: the call failed.
    """
    if film is not None and find_spec("av") is None:
        raise MissingExtraError("a film needs the extra `mp4` installed here")
    stopwatch = _Stopwatch(speech.format)
    chunks = speech.chunks(chunk_ms)
    audio = stopwatch.sent(paced(chunks, speech.format) if live else chunks)
    animation = client.animate(
        portrait, audio, speech.format, idle=idle, buffer_s=buffer_s, **options
    )
    if on_started is not None:
        on_started(animation.wait_until_started())
    pictures = _shown(stopwatch.received(animation), on_picture)
    data = b"" if film is None else _film(film, pictures, stopwatch, animation)
    for _ in pictures:
        pass
    arrivals = [
        (arrival_s - stopwatch.first_audio_s, pts_s) for arrival_s, pts_s in stopwatch.arrivals
    ]
    return Recording(
        film=data,
        started=animation.started,
        warnings=tuple(animation.warnings),
        frames=animation.summary.frames,
        first_frame_s=arrivals[0][0],
        playable_latency_s=playable_latency_s(arrivals),
        realtime_factor=stopwatch.clip().duration_s / arrivals[-1][0],
    )


def _shown(frames: Iterable[Frame], on_picture: OnPicture) -> Iterator[Picture]:
    decoder = FrameDecoder()
    for frame in frames:
        picture = decoder.picture(frame)
        on_picture(frame, picture)
        yield picture


def _film(
    kind: FilmKind, pictures: Iterator[Picture], stopwatch: "_Stopwatch", animation: Animation
) -> bytes:
    from echomimic_client.films import FilmWriter

    first = next(pictures)
    height, width = first.shape[:2]
    fps, rate = animation.started.frames_per_second, stopwatch.format.sample_rate_hz
    film = bytearray()
    with FilmWriter(kind, width, height, fps, rate) as writer:
        for number, picture in enumerate(chain((first,), pictures)):
            begin, end = (n * rate * fps.denominator // fps.numerator for n in (number, number + 1))
            film += writer.add(picture, stopwatch.sound(begin, end))
        return bytes(film) + b"".join(writer.finish())


class _Stopwatch:
    """Notes, in seconds of a monotonic clock, when audio leaves and frames arrive, and what it is.

    Holds the audio back where the frames are far behind: a server refuses what it cannot keep.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self.format = audio_format
        self.first_audio_s = 0.0
        self.arrivals: list[tuple[float, float]] = []
        """(arrival, presentation time in the speech) of each of its frames."""
        self.speech_s = 0.0
        """Presentation time of the first frame of speech."""
        self._changed = threading.Condition()
        self._reached_s = 0.0
        self._sent = bytearray()

    def clip(self, begin: int = 0, end: int | None = None) -> AudioClip:
        """Returns what was sent, or the samples of it between two positions."""
        size = self.format.bytes_per_sample
        piece = slice(begin * size, None if end is None else end * size)
        return AudioClip(self.format, bytes(self._sent[piece]))

    def sound(self, begin: int, end: int) -> NDArray[np.float32]:
        """Returns the samples of the film between two positions; speech begins with its frames."""
        silent = round(self.speech_s * self.format.sample_rate_hz) if self.arrivals else end
        heard = self.clip(max(0, begin - silent), max(0, end - silent)).mono()
        return np.pad(heard, (min(max(0, silent - begin), end - begin), 0))

    def sent(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            if not self._sent:
                self.first_audio_s = time.monotonic()
            with self._changed:
                samples = len(self._sent) // self.format.bytes_per_sample
                sent_s = samples / self.format.sample_rate_hz
                self._changed.wait_for(lambda: sent_s - self._reached_s <= MAX_AHEAD_S)  # noqa: B023
            self._sent += chunk
            yield chunk

    def received(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        try:
            for frame in frames:
                if frame.kind == "speech":
                    if not self.arrivals:
                        self.speech_s = frame.pts_s
                    self.arrivals.append((time.monotonic(), frame.pts_s - self.speech_s))
                    self._let_go(self.arrivals[-1][1])
                yield frame
        finally:
            self._let_go(math.inf)

    def _let_go(self, reached_s: float) -> None:
        with self._changed:
            self._reached_s = reached_s
            self._changed.notify_all()
