"""Pictures as the messages that a client gets."""

import asyncio
import time

from echomimic.v1 import avatar_service_pb2 as pb

from server.api import responses
from server.pictures.encoding import FrameEncoder
from server.recorder import Recorder
from server.sessions.events import Frame
from server.sessions.jobs import VideoFormat


class Frames:
    """Encodes the frames of one stream as its client asked for them, beside the event loop."""

    def __init__(self, video_format: VideoFormat, recorder: Recorder) -> None:
        """Begins a stream; what it holds goes with it."""
        self._video_format = video_format
        self._recorder = recorder
        self._encoder = FrameEncoder(
            video_format.encoding, video_format.jpeg_quality, video_format.retiming.frame_rate
        )

    def restart(self) -> None:
        """Makes the next frame decodable without those before it."""
        self._encoder.restart()

    async def message(self, frame: Frame) -> pb.Frame:
        """Returns the next frame, encoded."""
        began_s = time.monotonic()
        data, is_key = await asyncio.to_thread(self._encoder.encode, frame.picture)
        self._recorder.frame_encoded(time.monotonic() - began_s)
        return responses.frame(frame, data, self._video_format, is_key=is_key)
