"""What runs the networks: the one method the gateway knows. Triton implements it."""

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from server.contract import Arrays, Network


class Engine(Protocol):
    """Runs networks."""

    async def run(
        self, network: Network, inputs: Arrays, outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Runs a network once and returns the outputs asked for, or all.

        Args:
            network: which.
            inputs: by the names of `server.contract`, batch dimension first.
            outputs: names; what is not asked for is not sent.

        Raises:
            EngineUnavailableError: the network cannot be run now.
            ContractViolationError: an array is not as the table says.
        """
        ...
