"""From Wav2Vec2's own rate, about 50 vectors a second, to one stack of features a video frame."""

import numpy as np
from numpy.typing import NDArray

from server.arrays import FloatArray
from server.triton.contract import AUDIO_WINDOW

CONV_KERNELS = (10, 3, 3, 3, 3, 2, 2)
CONV_STRIDES = (5, 2, 2, 2, 2, 2, 2)
"""Wav2Vec2's feature extractor."""
EXTRA_SAMPLES = 80
"""Its vectors see 400 samples and begin 320 apart, so 2n of them take this more than n frames."""


def conv_frames(samples: int) -> int:
    """Returns how many vectors Wav2Vec2's feature extractor makes of some samples."""
    length = samples
    for kernel, stride in zip(CONV_KERNELS, CONV_STRIDES, strict=True):
        length = (length - kernel) // stride + 1
    return length


def interpolation(
    length: int, frames: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """Returns low, high and weight [frames] of a linear interpolation of ``length`` vectors.

    The first and last vectors fall on the first and last frames (align_corners), as in torch's
    ``F.interpolate``, which the authors call.
    """
    scale = np.float32((length - 1) / (frames - 1)) if frames > 1 else np.float32(0)
    position = np.arange(frames, dtype=np.float32) * scale
    low = np.minimum(position.astype(np.int64), length - 1)
    high = np.minimum(low + 1, length - 1)
    return low, high, (position - low).astype(np.float32)


def heard_frames(start: int, frames: int, total: int) -> NDArray[np.int64]:
    """Returns the indices [frames + 4] of frames and their neighbours, clamped at both ends."""
    reach = AUDIO_WINDOW // 2
    return np.clip(np.arange(start - reach, start + frames + reach), 0, total - 1)
