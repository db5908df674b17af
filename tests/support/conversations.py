"""What conversations in plain Python are opened with."""

from typing import Any

from server.animation.defaults import VARIANT_DEFAULTS
from server.audio.pcm import AudioFormat
from server.pictures.encoding import FrameEncoding
from server.sessions.jobs import Job, VideoFormat
from server.sessions.sitter import Sitter
from server.sessions.speech import AudioLimits
from tests.support.serving import SIZE
from tests.support.serving import portrait as gradient

RATE = 16_000
FRAME = 640
"""Samples of a video frame."""
LIMITS = AudioLimits(max_audio_s=600, limit="max_stream_audio", max_buffered_s=60)


def job(*, portrait: bytes | None = None, **changes: Any) -> Job:
    """A stream of raw frames, as small as the tests' server offers."""
    fields: dict[str, Any] = {
        "client_session_id": "",
        "who": Sitter(portrait or gradient(), "portrait"),
        "audio_format": AudioFormat("s16le", RATE, 1),
        "video_format": VideoFormat(FrameEncoding.RGB, SIZE, SIZE, 90),
        "generation": VARIANT_DEFAULTS["flash"],
    }
    return Job(**fields | changes)
