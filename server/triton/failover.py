"""An execution holds no state: where it fails by fault of the engine, it is tried once more.

With the last Triton that can be used lost, it waits for one to come back, or for its replacement.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from server.errors import EngineUnavailableError, ExecutionTimeoutError
from server.triton.contract import Arrays, Network
from server.triton.engine import Placed, PlacingEngine, Priority, Results
from server.triton.scheduling import ScheduledEngine

log = structlog.get_logger()


class FailoverEngine(PlacingEngine):
    """Tries executions that an engine could not run again, as often as there are Tritons.

    The engine is one that chooses another Triton after a failure. A timeout counts as one, too:
    whether the execution is to blame shows where it is tried next. What is lost with the last
    Triton is tried once more when there is one again, and no more often: an execution may be what
    Tritons die of.
    """

    def __init__(self, engine: ScheduledEngine, attempts: int, wait_s: float = 0.0) -> None:
        """Begins.

        Args:
            engine: chooses among the Tritons.
            attempts: how many Tritons there are.
            wait_s: how long an execution waits while none can be used.
        """
        self._engine = engine
        self._attempts = attempts
        self._wait_s = wait_s

    @asynccontextmanager
    async def place(self, network: Network, constants: Arrays) -> AsyncGenerator[Placed]:
        """Places constants when they are first used, and again after a failure."""
        async with AsyncExitStack() as context:
            yield _Movable(self, network, constants, context)

    async def put(self, network: Network, constants: Arrays, context: AsyncExitStack) -> Placed:
        """Places constants on a Triton that can be used, for as long as a context lasts.

        Raises:
            EngineUnavailableError: there is none, and was none in time.
        """
        await self._engine.until_usable(network, self._wait_s)
        return await context.enter_async_context(self._engine.place(network, constants))

    def is_worth_another(self, attempts: int, error: Exception) -> bool:
        """Tells whether what has failed so many times may succeed elsewhere."""
        waits = self._wait_s > 0 and isinstance(error, EngineUnavailableError)
        return attempts < self._attempts + waits


class _Movable(Placed):
    def __init__(
        self,
        engine: FailoverEngine,
        network: Network,
        constants: Arrays,
        context: AsyncExitStack,
    ) -> None:
        self._engine = engine
        self._network = network
        self._constants = constants
        self._context = context
        self._placed: Placed | None = None

    async def run(
        self,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> Results:
        attempts = 0
        while True:
            if self._placed is None:
                placing = (self._network, self._constants, self._context)
                self._placed = await self._engine.put(*placing)
            try:
                return await self._placed.run(
                    inputs, outputs, priority=priority, timeout_s=timeout_s
                )
            except (EngineUnavailableError, ExecutionTimeoutError) as error:
                self._placed = None
                await self._context.aclose()
                attempts += 1
                if not self._engine.is_worth_another(attempts, error):
                    raise
                log.info("execution failed over", network=self._network.name, problem=str(error))
