"""An event loop whose time passes at once: what sleeps is woken when nothing else is left to do."""

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

LONGEST_S = 120
"""What takes longer in real time never ends, and may swallow what a timeout of pytest raises."""


class _Selector(selectors.SelectSelector):
    """Lets time pass instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.ends_s = time.monotonic() + LONGEST_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everything waits, and nothing will happen")
        if not ready and timeout is not None:
            self.now_s += max(0.0, timeout)
        if time.monotonic() > self.ends_s:
            raise RuntimeError(f"this never ends: {asyncio.all_tasks()}")
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._passing = _Selector()
        super().__init__(self._passing)

    def time(self) -> float:
        return self._passing.now_s

    def run_in_executor(
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """Runs at once what would run in a thread, and takes no time."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine whose time begins at 0 s; threads of its own it may not start."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)
