"""An engine that has no memory for more than so many latent frames in one execution."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from server.errors import OutOfMemoryError
from server.triton.contract import PIXELS_PER_LATENT, Arrays, Network, latent_frames
from server.triton.engine import Engine, Priority
from tests.support.fake_engine import FakeEngine
from tests.support.serving import SIZE

AREA = (SIZE // PIXELS_PER_LATENT) ** 2
"""Latents of a picture of the usual size; one of twice its sides counts four times."""


class ShortOfMemory(Engine):
    """Counts the denoiser's latent frames for each row, those of other networks once."""

    def __init__(self, room: int, *networks: str) -> None:
        """Begins.

        Args:
            room: latent frames, of pictures of the usual size.
            networks: for which that is the room; the denoiser unless others are named.
        """
        self.room = room
        self.networks = networks or ("denoiser",)
        self.refused: list[tuple[int, int]] = []
        """Rows and latent frames of what there was no room for."""
        self.ran: list[tuple[int, int]] = []
        self._engine = FakeEngine()

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        if network.name in self.networks:
            rows, frames, area = _asked(inputs)
            if rows * frames * -(-area // AREA) > self.room:
                self.refused.append((rows, frames))
                raise OutOfMemoryError(network.name)
            self.ran.append((rows, frames))
        return await self._engine.run(network, inputs, outputs, priority=priority)


def _asked(inputs: Arrays) -> tuple[int, int, int]:
    """Returns rows, latent frames, and latents of one of them."""
    if "known" in inputs:
        _, known, height, width, _ = inputs["known"].shape
        frames = latent_frames(known + inputs["grey"].shape[1])
        return 1, frames, height * width // PIXELS_PER_LATENT**2
    rows = inputs["audio_gain"].shape[1] if "audio_gain" in inputs else 1
    frames, height, width = inputs["latents"].shape[2:]
    return rows, frames, height * width
