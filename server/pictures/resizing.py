"""Pictures of one size to pictures of another."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resized(pictures: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resizes pictures [n, height, width, 3] to a size (width, height), with Lanczos's kernel.

    Pictures that have the size are returned as they are.
    """
    height, width = pictures.shape[1:3]
    if (width, height) == size:
        return pictures
    return np.stack(
        [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.LANCZOS)) for p in pictures]
    )
