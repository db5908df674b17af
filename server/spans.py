"""What is under way, for whoever traces it: calls, windows, stages and executions, as spans.

Every task has a span that it works for, which is the parent of those that begin in it.
`server.traces` records spans; those of the classes here are of calls that nobody traces.
"""

import asyncio
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar

Fact = str | bool | int | float
Metadata = Iterable[tuple[str, str | bytes]]


class Span:
    """Is told, and does nothing about it but know its call.

    Names come from fixed tables, never from clients.
    """

    def __init__(self, request_id: str = "") -> None:
        """Begins, for the call of an id, or for none."""
        self.request_id = request_id

    @property
    def trace_id(self) -> str:
        """Where the span is found; empty if it is not recorded."""
        return ""

    def child(self, name: str) -> "Span":
        """Begins a part."""
        return self

    def note(self, **facts: Fact) -> None:
        """Says something about it."""

    def end(self, problem: str = "") -> None:
        """Ends it, once; ``problem`` is what went wrong, if something did."""

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Returns the metadata by which another program goes on with the trace."""
        return ()


class Tracer:
    """Begins the spans of calls."""

    def call(self, method: str, request_id: str, metadata: Metadata) -> Span:
        """Begins the span of a call, which goes on with the client's trace if it has one.

        Args:
            method: as the log names it.
            request_id: the call's.
            metadata: of the call.
        """
        return Span(request_id)


UNTRACED = Tracer()
_current = ContextVar("span", default=Span())  # noqa: B039 - it holds nothing that changes


def current() -> Span:
    """Returns the span that this task works for."""
    return _current.get()


def enter(span: Span) -> None:
    """Has this task, and those that it begins from now on, work for a span."""
    _current.set(span)


@contextmanager
def within(span: Span) -> Generator[Span]:
    """Has this task work for a span as long as the context lasts."""
    before = current()
    enter(span)
    try:
        yield span
    finally:
        enter(before)


def problem_of(error: BaseException) -> str:
    """Returns what went wrong, without the words of the error, which may be a client's."""
    is_cancelled = isinstance(error, asyncio.CancelledError | GeneratorExit)
    return "cancelled" if is_cancelled else type(error).__name__
