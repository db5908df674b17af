"""A file's speech to an MP4 by one Animate stream, as the command line and the demo do it."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain

from echomimic_client.audio import FRAME_RATE, AudioClip
from echomimic_client.blocking import AvatarClient
from echomimic_client.errors import MissingExtraError
from echomimic_client.pacing import paced
from echomimic_client.results import (
    Frame,
    GenerationSettings,
    Picture,
    ServerWarning,
    Started,
    VideoFormat,
)

OnPicture = Callable[[Frame, Picture], None]


@dataclass(frozen=True, slots=True)
class Recording:
    """A finished film, and how it came."""

    mp4: bytes
    started: Started
    warnings: tuple[ServerWarning, ...]
    frames: int
    first_frame_s: float
    """From the first audio sent to the first frame received."""
    realtime_factor: float
    """Seconds of audio for each second from the first audio sent to the last frame received."""


def record(
    client: AvatarClient,
    portrait: bytes,
    clip: AudioClip,
    *,
    live: bool,
    chunk_ms: int,
    video: VideoFormat,
    generation: GenerationSettings,
    on_picture: OnPicture,
) -> Recording:
    """Animates a portrait and films it with the clip's sound.

    Args:
        client: a connection to the server.
        portrait: a JPEG, PNG or WebP file.
        clip: the speech.
        live: send it at the speed of speaking, not at once.
        chunk_ms: length of a piece of audio.
        video: what the frames shall look like.
        generation: how they are generated.
        on_picture: is shown every frame as it comes.

    Raises:
        MissingExtraError: nothing here writes MP4 files.
        CallError: the call failed.
    """
    if find_spec("av") is None:
        raise MissingExtraError("an MP4 file needs the extra `mp4` installed here")
    stopwatch = _Stopwatch()
    chunks = clip.chunks(chunk_ms)
    audio = stopwatch.sent(paced(chunks, clip.format) if live else chunks)
    animation = client.animate(portrait, audio, clip.format, video=video, generation=generation)
    mp4 = _film(stopwatch.received(animation), clip, on_picture)
    return Recording(
        mp4=mp4,
        started=animation.started,
        warnings=tuple(animation.warnings),
        frames=animation.summary.frames,
        first_frame_s=stopwatch.first_frame_s - stopwatch.first_audio_s,
        realtime_factor=clip.duration_s / (stopwatch.last_frame_s - stopwatch.first_audio_s),
    )


def _film(frames: Iterator[Frame], clip: AudioClip, on_picture: OnPicture) -> bytes:
    from echomimic_client.mp4 import Mp4Writer

    first = next(frames)
    writer = Mp4Writer(first.width, first.height, FRAME_RATE, clip.format.sample_rate_hz)
    for frame in chain((first,), frames):
        picture = frame.to_numpy()
        writer.add_pictures([picture])
        on_picture(frame, picture)
    return writer.finish(clip.mono())


@dataclass(slots=True)
class _Stopwatch:
    """Notes, in seconds of a monotonic clock, when audio leaves and frames arrive."""

    first_audio_s: float = 0.0
    first_frame_s: float = 0.0
    last_frame_s: float = 0.0

    def sent(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for index, chunk in enumerate(chunks):
            if index == 0:
                self.first_audio_s = time.monotonic()
            yield chunk

    def received(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for index, frame in enumerate(frames):
            self.last_frame_s = time.monotonic()
            if index == 0:
                self.first_frame_s = self.last_frame_s
            yield frame
