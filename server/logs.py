"""The gateway's log: a line an event, text for people or JSON for machines, on standard error."""

import logging
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger

from server.spans import current

# Without local variables: they are clients' portraits and prompts, and take a while to print.
TRACEBACKS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def with_request(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Names the call that a line is about, where one is worked for and the line does not."""
    if request_id := current().request_id:
        event.setdefault("request_id", request_id)
    return event


def configure(*, as_json: bool) -> None:
    """Sets up structlog for the process."""
    renderers = (
        [structlog.processors.ExceptionRenderer(TRACEBACKS), structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            with_request,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
