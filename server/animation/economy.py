"""What a stream goes without where memory is short, a rung at a time.

    rows of a step together -> one after the other
    the decoder             -> the lighter one, where it is the decoder that has no room
    windows                 -> of the next shorter length
    pictures                -> of the next smaller size, enlarged; windows as long as usual again

The first costs time alone, the next little of the picture. Shorter windows take longer and have
more seams; what is made smaller is softer in every frame, so that is the last resort. What was
lowered stays so until the stream ends. The next one begins with all of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from server.animation.windows import Window
from server.arrays import FloatArray
from server.errors import OutOfMemoryError
from server.notices import Notice
from server.pictures.resizing import resized
from server.triton.contract import AUDIO_ENCODER, LIGHT_DECODER, VAE_DECODER
from server.triton.engine import Engine, Priority
from server.triton.rows import RowsEngine

MEMORY_LOW = "MEMORY_LOW"
Pictures = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Rungs:
    """What a stream may be lowered to.

    Attributes:
        lengths: frames that windows may be shortened to.
        light_decoder: whether there is a lighter decoder.
        sizes: (width, height) that pictures may be made at, smaller ones than asked for.
    """

    lengths: tuple[int, ...]
    light_decoder: bool = False
    sizes: tuple[tuple[int, int], ...] = ()


class Economy:
    """What one stream has been lowered to."""

    def __init__(self, rungs: Rungs | None, tell: Callable[[Notice], None]) -> None:
        """Begins with nothing lowered.

        Args:
            rungs: what it may be lowered to; None lowers nothing.
            tell: told of what is lowered.
        """
        self._rungs = rungs or Rungs(())
        self._lowers = rungs is not None
        self._engine: Engine | None = None
        self._decoder = VAE_DECODER
        self._longest: int | None = None
        self._size: tuple[int, int] | None = None
        self._tell = tell
        self.is_lowered = False

    def parting(self, engine: Engine) -> Engine:
        """Returns an engine that lowers rows, or the one handed in; the same each time."""
        if self._engine is None:
            self._engine = RowsEngine(engine, self._parted) if self._lowers else engine
        return self._engine

    def fitted(self, window: Window) -> Window:
        """Returns a window no longer than memory has had room for."""
        frames = window.frames if self._longest is None else min(window.frames, self._longest)
        return replace(window, frames=frames)

    def sized(self, pictures: Pictures) -> Pictures:
        """Returns pictures [n, height, width, 3] in the size that memory has had room for."""
        return pictures if self._size is None else resized(pictures, self._size)

    async def decode(self, engine: Engine, latents: FloatArray, priority: Priority) -> Pictures:
        """Decodes a window's latents to pictures [n, height, width, 3].

        Raises:
            OutOfMemoryError: there is no room for the lighter decoder either, or there is none.
        """

        async def run() -> Pictures:
            inputs = {"latents": latents}
            decoded = await engine.run(self._decoder, inputs, ["frames"], priority=priority)
            return decoded["frames"][0]

        try:
            return await run()
        except OutOfMemoryError as error:
            if not self._rungs.light_decoder or self._decoder is LIGHT_DECODER:
                raise
            self._decoder = LIGHT_DECODER
            self._lowered(error.network, "a lighter decoder is used from now on, with less detail")
            return await run()

    def lowered(self, window: Window, error: OutOfMemoryError) -> Window:
        """Returns the window to be made in place of one that memory has no room for.

        It is of the next shorter length, or where there is none to be made in a smaller size.

        Raises:
            OutOfMemoryError: there is neither; the error that was handed in.
        """
        shorter = [frames for frames in self._rungs.lengths if frames < window.frames]
        if shorter:
            self._longest = max(shorter)
            what = f"windows have {self._longest} frames from now on, not {window.frames}"
        elif error.network != AUDIO_ENCODER.name and (smaller := self._smaller()):
            self._size, self._longest = smaller, None
            what = f"pictures are made at {smaller[0]}x{smaller[1]} from now on, and enlarged"
        else:
            raise error
        self._lowered(error.network, what)
        return self.fitted(window)

    def _smaller(self) -> tuple[int, int] | None:
        """Returns the next smaller size, if there is one."""
        sizes = [size for size in self._rungs.sizes if self._size is None or size < self._size]
        return max(sizes, default=None)

    def _parted(self, network: str) -> None:
        self._lowered(
            network, "the branches of a step are computed one after the other, which takes longer"
        )

    def _lowered(self, network: str, what: str) -> None:
        self.is_lowered = True
        problem = f"there is not enough memory to run {network} as usual"
        self._tell(Notice(MEMORY_LOW, f"{problem}: {what}; ask for a smaller size to avoid it"))


REFUSED = Economy(None, lambda _: None)
"""That of whoever is refused where memory is short."""
