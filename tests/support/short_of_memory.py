"""An engine that has no memory for more than so many latent frames in one execution."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from server.errors import OutOfMemoryError
from server.triton.contract import Arrays, Network
from server.triton.engine import Engine, Priority
from tests.support.fake_engine import FakeEngine


class ShortOfMemory(Engine):
    """Counts the denoiser's latent frames for each row, those of other networks once."""

    def __init__(self, room: int, network: str = "denoiser") -> None:
        self.room = room
        self.network = network
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
        if network.name == self.network:
            rows = inputs["audio_gain"].shape[1] if "audio_gain" in inputs else 1
            frames = inputs["latents"].shape[2]
            if rows * frames > self.room:
                self.refused.append((rows, frames))
                raise OutOfMemoryError(network.name)
            self.ran.append((rows, frames))
        return await self._engine.run(network, inputs, outputs, priority=priority)
