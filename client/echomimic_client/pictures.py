"""The frames of a stream to pictures."""

# PyAV's own annotations are partial.
# pyright: reportUnknownMemberType=false

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from echomimic_client.errors import MissingExtraError
from echomimic_client.results import Frame, Picture

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext


class FrameDecoder:
    """Decodes the frames of one stream, all of them and in order, whatever their encoding.

    Only H.264 needs the frames before a frame; pictures of any other encoding `Frame.to_numpy` has.
    """

    def __init__(self) -> None:
        self._h264: VideoCodecContext | None = None

    def picture(self, frame: Frame) -> Picture:
        """Returns the picture [height, width, 3], RGB.

        Raises:
            MissingExtraError: it is H.264, and nothing here decodes that.
        """
        if frame.encoding != "h264":
            return frame.to_numpy()
        if find_spec("av") is None:
            raise MissingExtraError("H.264 frames need the extra `mp4` installed here")
        import av
        from av.video.reformatter import ColorRange, Colorspace

        if self._h264 is None:
            self._h264 = av.CodecContext.create("h264", "r")
            # Threads would hold frames back.
            self._h264.thread_count = 1
        (decoded,) = self._h264.decode(av.Packet(frame.data))
        rgb = decoded.reformat(
            format="rgb24", src_colorspace=Colorspace.ITU709, src_color_range=ColorRange.MPEG
        )
        return np.asarray(rgb.to_ndarray(), np.uint8)
