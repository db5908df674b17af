"""Pictures to the bytes that a client asked for."""

import io
from enum import Enum

import numpy as np
import simplejpeg  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray
from PIL import Image


class FrameEncoding(Enum):
    """The frame encodings offered."""

    JPEG = "jpeg"
    PNG = "png"
    RGB = "rgb"


def encode_frame(picture: NDArray[np.uint8], encoding: FrameEncoding, jpeg_quality: int) -> bytes:
    """Encodes a picture [height, width, 3]."""
    match encoding:
        case FrameEncoding.JPEG:
            return simplejpeg.encode_jpeg(
                np.ascontiguousarray(picture), quality=jpeg_quality, colorsubsampling="444"
            )
        case FrameEncoding.PNG:
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "PNG", compress_level=1)
            return file.getvalue()
        case FrameEncoding.RGB:
            return picture.tobytes()
