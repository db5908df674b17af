"""`python -m server`: see `--help`; `config` and `new-key` are in `server/commands.py`."""

import asyncio
import os
import sys
from importlib.metadata import version

import structlog

from server import logs, memory
from server.access.files import AccessFileError
from server.api.listener import ListenError
from server.app import serve
from server.commands import COMMANDS, stated
from server.manifest import ManifestError
from server.origins import changed, mistyped, origins, outdated
from server.settings import PLAIN_VARIABLES
from server.triton.errors import TritonStartError


def main() -> int:
    """Runs the gateway; returns the exit status."""
    memory.keep_small()
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        return COMMANDS[sys.argv[1]](sys.argv[2:])
    for problem in outdated(sys.argv[1:]):
        print(f"error: {problem}", file=sys.stderr)
        return 2
    settings = stated(sys.argv[1:])
    if settings is None:
        return 2
    logs.configure(as_json=settings.log_json)
    log = structlog.get_logger()
    log.info("starting", version=version("echomimic-server"), settings=changed(settings))
    by = origins(os.environ, sys.argv[1:], settings.config)
    for name in by.keys() & PLAIN_VARIABLES.values():
        log.info("a setting is stated", setting=name, value=getattr(settings, name), by=by[name])
    for problem in mistyped(os.environ):
        log.warning("a variable is ignored", problem=problem)
    status = 0
    try:
        asyncio.run(serve(settings))
    except* (AccessFileError, ListenError, ManifestError, TritonStartError) as group:
        for error in group.exceptions:
            print(f"error: {error}", file=sys.stderr)
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
