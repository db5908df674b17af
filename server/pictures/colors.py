"""Colours of a clip matched to its first picture, as the authors do before they save a video.

Reinhard et al. 2001, "Color transfer between images": means and deviations in LAB. It undoes a slow
drift of the colours over a long clip, and whatever was meant to change.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]
Statistics = tuple[NDArray[np.float64], NDArray[np.float64]]


class ColorMatcher:
    """Gives pictures the colours of the first one it sees."""

    def __init__(self) -> None:
        self._target: Statistics | None = None

    def __call__(self, pictures: Pictures) -> Pictures:
        """Matches pictures [n, height, width, 3]; the very first stays as it is."""
        return np.stack([self._match(picture) for picture in pictures])

    def _match(self, picture: Pictures) -> Pictures:
        # An extra of the gateway, for this alone.
        import cv2

        lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
        mean, deviation = _statistics(lab)
        if self._target is None:
            self._target = mean, deviation
            return picture
        target_mean, target_deviation = self._target
        # A picture of one colour has no deviation, and nothing to scale.
        gain = target_deviation / np.where(deviation > 0, deviation, 1)
        matched = np.rint((lab - mean) * gain + target_mean)
        lab = np.clip(matched, 0, 255).astype(np.uint8)
        return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def _statistics(lab: NDArray[Any]) -> Statistics:
    """Returns mean and deviation of each channel, to two decimals as upstream has them."""
    pixels = np.asarray(lab, np.float64).reshape(-1, 3)
    return pixels.mean(axis=0).round(2), pixels.std(axis=0).round(2)
