"""What runs the networks: the one method the gateway knows. Triton implements it."""

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from server.triton.contract import Arrays, Network


class Engine(Protocol):
    """Runs networks."""

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        urgent: bool = False,
    ) -> dict[str, NDArray[Any]]:
        """Runs a network once and returns the outputs asked for, or all.

        Args:
            network: which.
            inputs: by the names of `server.triton.contract`, batch dimension first.
            outputs: names; what is not asked for is not sent.
            urgent: goes before what others have waiting.

        Raises:
            EngineUnavailableError: the network cannot be run now.
            ContractViolationError: an array is not as the table says.
        """
        ...


class Newcomer:
    """The engine of a stream that has shown no frame yet: what it runs goes before others' work."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._urgent = True

    def settle(self) -> None:
        """Says that a frame has been made: from now on this stream waits like every other."""
        self._urgent = False

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        urgent: bool = False,
    ) -> dict[str, NDArray[Any]]:
        """Runs a network once; see `Engine`."""
        return await self._engine.run(network, inputs, outputs, urgent=urgent or self._urgent)
