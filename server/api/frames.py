"""A picture as the message that a client gets."""

import asyncio
import time

from echomimic.v1 import avatar_service_pb2 as pb

from server.api import responses
from server.pictures.encoding import encode_frame
from server.recorder import Recorder
from server.sessions.events import Frame
from server.sessions.jobs import VideoFormat


async def encoded(frame: Frame, video_format: VideoFormat, recorder: Recorder) -> pb.Frame:
    """Returns a frame encoded as the client asked for it."""
    began_s = time.monotonic()
    data = await asyncio.to_thread(
        encode_frame, frame.picture, video_format.encoding, video_format.jpeg_quality
    )
    recorder.frame_encoded(time.monotonic() - began_s)
    return responses.frame(frame, data, video_format)
