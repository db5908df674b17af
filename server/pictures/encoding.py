"""Pictures to the bytes that a client asked for."""

import io
from enum import Enum
from fractions import Fraction
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from server.pictures.h264 import H264Encoder

WEBP_METHOD = 0
"""Of 0 to 6: every further one takes longer than the next frame may."""


class FrameEncoding(Enum):
    """The frame encodings offered."""

    JPEG = "jpeg"
    PNG = "png"
    RGB = "rgb"
    WEBP = "webp"
    H264 = "h264"

    @property
    def is_offered(self) -> bool:
        """Whether it can be made here."""
        return self is not FrameEncoding.H264 or find_spec("av") is not None


def encode_picture(picture: NDArray[np.uint8], encoding: FrameEncoding, quality: int) -> bytes:
    """Encodes a picture [height, width, 3] by itself, as every encoding but H.264 does."""
    match encoding:
        case FrameEncoding.JPEG:
            return simplejpeg.encode_jpeg(
                np.ascontiguousarray(picture), quality=quality, colorsubsampling="444"
            )
        case FrameEncoding.PNG:
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "PNG", compress_level=1)
            return file.getvalue()
        case FrameEncoding.RGB:
            return picture.tobytes()
        case FrameEncoding.WEBP:
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "WEBP", quality=quality, method=WEBP_METHOD)
            return file.getvalue()
        case FrameEncoding.H264:
            raise ValueError("an H.264 frame is none by itself: use FrameEncoder")


class FrameEncoder:
    """Encodes the pictures of one stream, in order, and one at a time."""

    def __init__(self, encoding: FrameEncoding, quality: int, frame_rate: Fraction) -> None:
        """Begins a stream; ``quality`` is that of JPEG and WebP."""
        self._encoding = encoding
        self._quality = quality
        self._frame_rate = frame_rate
        self._h264: H264Encoder | None = None
        self._is_new = True

    def restart(self) -> None:
        """Makes the next frame decodable without those before it."""
        self._is_new = True

    def encode(self, picture: NDArray[np.uint8]) -> tuple[bytes, bool]:
        """Returns a picture [height, width, 3], encoded, and whether it is a key frame."""
        if self._encoding is not FrameEncoding.H264:
            return encode_picture(picture, self._encoding, self._quality), True
        if self._h264 is None:
            # Loading FFmpeg takes a moment, and not every installation has it.
            from server.pictures.h264 import H264Encoder

            height, width, _ = picture.shape
            self._h264 = H264Encoder(width, height, self._frame_rate)
        is_key, self._is_new = self._is_new, False
        return self._h264.encode(picture, is_key=is_key)
