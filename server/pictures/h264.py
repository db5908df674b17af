"""Pictures to an H.264 stream, an access unit for each, by PyAV (the `mp4` extra)."""

# The library's own annotations are partial.
# pyright: reportUnknownMemberType=false

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from numpy.typing import NDArray

from echomimic_client.films import KEY_FRAMES_EVERY_S, bt709, state_bt709

OPTIONS = {
    "preset": "veryfast",
    # No picture waits for a later one.
    "tune": "zerolatency",
    "crf": "20",
    # A picture that is made a key frame begins the stream anew.
    "forced-idr": "1",
    # No key frame because a picture differs much from the one before.
    "sc_threshold": "0",
}


class H264Encoder:
    """Encodes the pictures of one stream; it is not used by two threads at once."""

    def __init__(self, width: int, height: int, frame_rate: Fraction) -> None:
        """Opens an encoder for pictures of a size, with even sides."""
        self._context: Any = av.CodecContext.create("libx264", "w")
        self._context.width, self._context.height = width, height
        state_bt709(self._context)
        self._context.framerate = frame_rate
        self._context.time_base = 1 / frame_rate
        self._context.gop_size = int(KEY_FRAMES_EVERY_S * frame_rate)
        self._context.options = OPTIONS
        self._context.thread_count = 1
        self._pictures = 0

    def encode(self, picture: NDArray[np.uint8], *, is_key: bool) -> tuple[bytes, bool]:
        """Encodes a picture [height, width, 3].

        Args:
            picture: the next one.
            is_key: whether it must be decodable without those before it.

        Returns:
            Its access unit in the form of Annex B, and whether it is a key frame.
        """
        frame = bt709(picture)
        frame.pts, frame.time_base = self._pictures, self._context.time_base
        if is_key:
            frame.pict_type = PictureType.I
        self._pictures += 1
        (packet,) = self._context.encode(frame)
        return bytes(packet), bool(packet.is_keyframe)
