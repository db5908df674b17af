"""A fake engine whose networks can be held up and broken one by one."""

import asyncio
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from server.triton.contract import Arrays, Network
from server.triton.engine import Priority
from tests.support.fake_engine import FakeEngine
from tests.support.serving import until


class GatedEngine(FakeEngine):
    """Executions of a network wait while it has a gate, and fail with its error."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: dict[str, asyncio.Event] = {}
        self.errors: dict[str, Exception] = {}

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        if network.name in self.gates:
            await self.gates[network.name].wait()
        if network.name in self.errors:
            raise self.errors[network.name]
        return await super().run(network, inputs, outputs, priority=priority, timeout_s=timeout_s)

    async def close_gate(self, network: str) -> None:
        """Holds up further executions of a network, once one has come through."""
        await until(lambda: network in self.executions)
        self.gates[network] = asyncio.Event()

    def open_gate(self, network: str) -> None:
        self.gates.pop(network).set()
