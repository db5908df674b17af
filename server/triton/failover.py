"""An execution holds no state: where it fails by fault of the engine, it is tried once more."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from server.errors import AvatarError, EngineUnavailableError, ExecutionTimeoutError
from server.triton.contract import Arrays, Network
from server.triton.engine import Engine, Placed, PlacingEngine, Priority, Results

log = structlog.get_logger()


class FailoverEngine(PlacingEngine):
    """Tries executions that an engine could not run again, as often as there are Tritons.

    The engine is one that chooses another Triton after a failure. A timeout counts as one, too:
    whether the execution is to blame shows where it is tried next.
    """

    def __init__(self, engine: Engine, attempts: int) -> None:
        self._engine = engine
        self._attempts = attempts

    @asynccontextmanager
    async def place(self, network: Network, constants: Arrays) -> AsyncGenerator[Placed]:
        """Places constants when they are first used, and again after a failure."""
        async with AsyncExitStack() as context:
            yield _Movable(self._engine, self._attempts, network, constants, context)


class _Movable(Placed):
    def __init__(
        self,
        engine: Engine,
        attempts: int,
        network: Network,
        constants: Arrays,
        context: AsyncExitStack,
    ) -> None:
        self._engine = engine
        self._attempts = attempts
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
        failed: AvatarError | None = None
        for _ in range(self._attempts):
            try:
                placed = await self._place()
                return await placed.run(inputs, outputs, priority=priority, timeout_s=timeout_s)
            except (EngineUnavailableError, ExecutionTimeoutError) as error:
                failed = error
                self._placed = None
                await self._context.aclose()
                log.info("execution failed over", network=self._network.name, problem=str(error))
        assert failed is not None
        raise failed

    async def _place(self) -> Placed:
        if self._placed is None:
            placing = self._engine.place(self._network, self._constants)
            self._placed = await self._context.enter_async_context(placing)
        return self._placed
