"""What is in every line of the log."""

import io
import json
import sys

import pytest
import structlog

from server import logs
from server.spans import Span, within


def test_a_line_names_the_call_that_is_worked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", printed)
    logs.configure(as_json=True)
    log = structlog.get_logger()
    try:
        log.info("nobody's")
        with within(Span("find-me")):
            log.info("the call's")
            log.info("another's", request_id="another")
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in printed.getvalue().splitlines()]
    assert [line.get("request_id") for line in lines] == [None, "find-me", "another"]
