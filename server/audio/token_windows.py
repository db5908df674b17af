"""Which audio tokens each latent frame of the preview variant looks at.

Compatible with ``split_audio_sequence`` and ``split_tensor_with_padding`` of
``wan_transformer3d_audio.py`` in EchoMimic V3.
"""

import numpy as np
from numpy.typing import NDArray

from server.triton.contract import FRAMES_PER_LATENT

MARGIN = 4
"""Tokens that a window takes in on either side of its own."""
PADDING = -1
"""Stands in an index for a token of zeros."""


def window_index(tokens: int) -> NDArray[np.int64]:
    """Returns the tokens of each latent frame's window.

    There are about two tokens per video frame. Where a window reaches over either end, all its
    padding comes last, as the authors have it.

    Args:
        tokens: audio tokens of the clip.

    Returns:
        [latent_frames, 17], PADDING where a window has no token.

    Raises:
        ValueError: the tokens are too few for two latent frames, which the windows need.
    """
    frames = tokens // 2
    latent_frames = (frames - 1) // FRAMES_PER_LATENT + 1
    if latent_frames < 2:
        raise ValueError(f"preview needs 10 audio tokens or more, got {tokens}")
    per_frame = tokens / frames
    half = int(per_frame * FRAMES_PER_LATENT / 2)
    later = [_centre(per_frame, frame) for frame in range(1, latent_frames)]
    starts = np.array([later[0] - 3 * half, *(centre - half for centre in later)])
    offsets = np.arange(-MARGIN, 2 * half + MARGIN + 1)
    index = starts[:, None] + offsets
    present = (index >= 0) & (index < tokens)
    # A stable sort on absence moves the padding of either end behind the tokens.
    order = np.argsort(~present, axis=1, kind="stable")
    return np.take_along_axis(np.where(present, index, PADDING), order, axis=1)


def _centre(per_frame: float, latent_frame: int) -> int:
    start = per_frame * ((latent_frame - 1) * FRAMES_PER_LATENT + 1) - MARGIN
    end = per_frame * (latent_frame * FRAMES_PER_LATENT + 1) + MARGIN
    return int((start + end) / 2) - 1
