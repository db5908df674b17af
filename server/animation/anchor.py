"""Keeps the colours of a long stream the portrait's.

known frames, portrait -> where they agree -> what drifted -> known frames without it

A window is told the last frames of the one before, as the VAE and the denoiser left them, so what
each window adds to the colours adds up until the face is gone. Where frames show what the portrait
shows, a difference is drift; where they do not, something moved, and a difference says nothing. So
the drift is a weighed mean of differences (normalized convolution: Knutsson and Westin, 1993),
first of the whole picture, then of ever smaller surroundings, each of which explains what the wider
ones left. A difference weighs by the agreement of the structure around it (the second factor of
SSIM: Wang et al., 2004), and less the larger it is (Geman and McClure's weight).
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.arrays import FloatArray
from server.pictures.portrait import Picture

Pictures = NDArray[np.uint8]

GRID = 64
"""Cells along the shorter side: drift is smooth, and the same at every size."""
NARROW, WIDER = 1.5, (8, 4, 2, 1)
"""Gaussian surroundings in cells: the narrowest, and by how much wider each one is."""
NOISE_LEVELS = 4.0
"""Structure so weak is none, and agrees with any."""
DOUBT = 0.05
"""Surroundings of which less than this weighs leave what wider ones say as it is."""


class Anchor:
    """Holds known frames to a portrait."""

    def __init__(self, portrait: Picture, levels: float) -> None:
        """Begins.

        Args:
            portrait: uint8 [height, width, 3], of the size of the frames.
            levels: of 255; differences well above it are taken for movement. 0 corrects nothing.
        """
        self._levels = levels
        self._portrait = portrait

    def hold(self, known: Pictures) -> Pictures:
        """Returns frames [n, height, width, 3] without the drift of their mean, in whole levels."""
        if not self._levels:
            return known
        mean = known.mean(axis=0, dtype=np.float32)
        drift = _fine(self._drift(_coarse(mean), _coarse(self._portrait)), mean.shape)
        return np.clip(known - np.rint(drift).astype(np.int16), 0, 255).astype(np.uint8)

    def _drift(self, shown: FloatArray, portrait: FloatArray) -> FloatArray:
        difference = shown - portrait
        agreement = _agreement(shown, portrait)
        weight = self._weight(difference, agreement)
        drift = (weight * difference).sum(axis=(0, 1)) / (weight.sum(axis=(0, 1)) + 1)
        for wider in WIDER:
            left = difference - drift
            weight, sigma = self._weight(left, agreement), NARROW * wider
            drift = drift + _blur(weight * left, sigma) / (_blur(weight, sigma) + DOUBT)
        return drift

    def _weight(self, difference: FloatArray, agreement: FloatArray) -> FloatArray:
        square = np.square(difference).mean(axis=-1, keepdims=True)
        return agreement / np.square(1 + square / self._levels**2)


def _agreement(left: FloatArray, right: FloatArray) -> FloatArray:
    """Returns SSIM's factor for contrast and structure, [rows, columns, 1], 0 at least."""
    x, y = (picture.mean(axis=-1, keepdims=True) for picture in (left, right))
    mean_x, mean_y = _blur(x, NARROW), _blur(y, NARROW)
    covariance = _blur(x * y, NARROW) - mean_x * mean_y
    variances = _blur(x * x + y * y, NARROW) - mean_x**2 - mean_y**2
    noise = NOISE_LEVELS**2
    return np.maximum((2 * covariance + noise) / (variances + noise), 0)


def _blur(picture: FloatArray, sigma: float) -> FloatArray:
    """Blurs [rows, columns, channels]; beyond its edges a picture goes on as it ends."""
    reach = math.ceil(3 * sigma)
    taps = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / sigma)).astype(np.float32)
    taps /= taps.sum()
    padded = np.pad(picture, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    for axis in (0, 1):
        padded = np.lib.stride_tricks.sliding_window_view(padded, len(taps), axis=axis) @ taps
    return padded


def _coarse(picture: NDArray[np.uint8] | FloatArray) -> FloatArray:
    height, width, _ = picture.shape
    cell = max(1.0, min(height, width) / GRID)
    size = round(width / cell), round(height / cell)
    return _resized(picture, size, Image.Resampling.BOX)


def _fine(coarse: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    height, width, _ = shape
    return _resized(coarse, (width, height), Image.Resampling.BICUBIC)


def _resized(
    picture: NDArray[np.uint8] | FloatArray, size: tuple[int, int], how: Image.Resampling
) -> FloatArray:
    channels = np.moveaxis(picture.astype(np.float32), -1, 0)
    return np.stack([np.asarray(Image.fromarray(c).resize(size, how)) for c in channels], axis=-1)
