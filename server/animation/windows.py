"""How speech is cut into windows: the frames that are denoised together.

    frames   0 ............ 16
    first    |==============|
    second               |==|============================|
                         overlap: known to the second window, cross-faded

A window needs its audio and some look-ahead before it can be computed, so the first one is short
for a quick first frame and the later ones are longer.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Lengths in video frames; window lengths are 4k + 1."""

    first: int
    later: int
    overlap: int
    audio_lookahead: int
    audio_left_context: int

    @property
    def advised_buffer(self) -> int:
        """Frames that a player is to have before it starts, so that it never runs dry.

        A later window leaves when its audio is there, but the frames of the first one are shown
        sooner by what it is shorter. A later window that takes longer to compute than the first
        needs that much more.
        """
        return max(0, self.later - self.first)


@dataclass(frozen=True, slots=True)
class Window:
    """Frames ``start`` to ``end`` (exclusive); the first ``overlap`` are known from before."""

    index: int
    start: int
    frames: int
    overlap: int

    @property
    def end(self) -> int:
        """The first frame after the window."""
        return self.start + self.frames


def windows(spec: WindowSpec) -> Iterator[Window]:
    """Yields the windows of a stream without end."""
    window = Window(index=0, start=0, frames=spec.first, overlap=0)
    while True:
        yield window
        window = Window(
            index=window.index + 1,
            start=window.end - spec.overlap,
            frames=spec.later,
            overlap=spec.overlap,
        )
