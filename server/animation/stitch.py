"""Windows to one run of frames: the overlap is cross-faded and every frame leaves once."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.animation.stages import Work
from server.animation.windows import Window
from server.parts import in_parts

Pictures = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of a window.

    Attributes:
        window: its number.
        start: the first frame's index.
        pictures: [n, height, width, 3].
        work: what the window took, where that was counted.
    """

    window: int
    start: int
    pictures: Pictures
    work: Work | None = None

    def until(self, end: int) -> "Clip":
        """Returns the part before a frame index."""
        return replace(self, pictures=self.pictures[: max(0, end - self.start)])


class Stitcher:
    """Holds back the frames that the next window shares, and fades over to it.

    The weights run linearly from 0 to 1 over the overlap, as in the authors' long-video loop.
    """

    def __init__(self, overlap: int) -> None:
        self._overlap = overlap
        self._held: Clip | None = None

    @property
    def held(self) -> Pictures:
        """The frames held back, which the next window is told."""
        if self._held is None:
            raise ValueError("nothing is held back before the first window")
        return self._held.pictures

    async def add(self, window: Window, pictures: Pictures) -> Clip:
        """Takes a window's pictures; returns the frames that no later window changes."""
        if self._held is not None:
            pictures = await cross_fade(self._held.pictures, pictures)
        kept = len(pictures) - self._overlap
        self._held = Clip(window.index, window.start + kept, pictures[kept:])
        return Clip(window.index, window.start, pictures[:kept])

    def finish(self) -> Clip | None:
        """Returns the frames held back when no window follows."""
        held, self._held = self._held, None
        return held


async def cross_fade(before: Pictures, after: Pictures) -> Pictures:
    """Fades the first ``len(before)`` pictures of ``after`` in over ``before``; rows in threads."""
    overlap = len(before)
    weights = np.linspace(0, 1, overlap, dtype=np.float32)
    faded = np.empty_like(after)

    def draw(rows: slice) -> None:
        # One at a time: all of them at once would take three times as long.
        for old, new, target, weight in zip(before, after, faded, weights, strict=False):
            mixed = old[rows] * (1 - weight) + new[rows] * weight
            np.rint(mixed, out=target[rows], casting="unsafe")
        faded[overlap:, rows] = after[overlap:, rows]

    await in_parts(draw, after.shape[1], after.nbytes)
    return faded


def fade(before: NDArray[Any], after: NDArray[Any], *, axis: int) -> NDArray[np.float32]:
    """Fades the first frames of ``after`` in over ``before``, linearly from 0 to 1.

    Args:
        before: all of it is faded out.
        after: as long or longer along the axis, and of the same shape otherwise.
        axis: that of the frames.
    """
    overlap = before.shape[axis]
    shared, rest = np.split(after, [overlap], axis=axis)
    shape = [1] * after.ndim
    shape[axis] = overlap
    weight = np.linspace(0, 1, overlap, dtype=np.float32).reshape(shape)
    faded = before * (1 - weight) + shared * weight
    return np.concatenate([faded, rest], axis=axis, dtype=np.float32)
