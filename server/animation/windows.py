"""How speech is cut into windows: the frames that are denoised together.

    frames   0 ...... 8
    first    |========|
    second       |====|============================|
                 overlap: known to the second window, cross-faded

A window needs its audio and some look-ahead before it can be computed, so the first one is short
for a quick first frame. Of a long one less is overlap, which is computed twice. So lengths go up a
ladder, a rung for each window, whatever the machine makes of it: the same speech is cut the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from server.triton.contract import FRAMES_PER_LATENT

SHORTEST_LAST = 17
"""Frames of a last window, unless longer ones are so short: with fewer, pictures jump in it."""


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Lengths in video frames.

    Attributes:
        ladder: lengths of the first windows, 4k + 1 each and none shorter than the one before; the
            last one is that of all further windows, too.
        overlap: frames that a window shares with the one before.
        audio_lookahead: audio that follows a window's last frame.
        audio_left_context: audio before a window that its features are computed with.
    """

    ladder: tuple[int, ...]
    overlap: int
    audio_lookahead: int
    audio_left_context: int

    @property
    def first(self) -> int:
        """Frames of the first window."""
        return self.ladder[0]

    @property
    def longest(self) -> int:
        """Frames of the last rung, the longest."""
        return self.ladder[-1]


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
    window = first_window(spec)
    while True:
        yield window
        window = following(window, spec)


def first_window(spec: WindowSpec) -> Window:
    """Returns the window that an utterance begins with."""
    return Window(index=0, start=0, frames=spec.first, overlap=0)


def following(window: Window, spec: WindowSpec) -> Window:
    """Returns the window after another one."""
    index = window.index + 1
    return Window(
        index=index,
        start=window.end - spec.overlap,
        frames=spec.ladder[min(index, len(spec.ladder) - 1)],
        overlap=spec.overlap,
    )


def shortened(window: Window, spec: WindowSpec, frames: int) -> Window:
    """Returns a window no longer than an utterance of so many frames needs.

    It is no shorter than the first one either, so that engines which take the ladder take it. A
    window that reaches past the end waits for it, so this does not depend on how speech comes in.
    """
    needed = max(spec.first, SHORTEST_LAST, frames - window.start)
    whole = -(-(needed - 1) // FRAMES_PER_LATENT) * FRAMES_PER_LATENT + 1
    return replace(window, frames=min(window.frames, whole))
