"""`python -m server`: see `--help`."""

import asyncio
import os
import sys
from importlib.metadata import version

import structlog
from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from server import logs, memory
from server.api.listener import ListenError
from server.app import serve
from server.manifest import ManifestError
from server.settings import Settings, changed, mistyped, origins, outdated
from server.triton.errors import TritonStartError


def main() -> int:
    """Runs the gateway; returns the exit status."""
    memory.keep_small()
    for problem in outdated(sys.argv[1:]):
        print(f"error: {problem}", file=sys.stderr)
        return 2
    try:
        settings = CliApp.run(Settings)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ValidationError as error:
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"]) or "settings"
            print(f"error: {where}: {problem['msg']}", file=sys.stderr)
        return 2
    logs.configure(as_json=settings.log_json)
    log = structlog.get_logger()
    log.info("starting", version=version("echomimic-server"), settings=changed(settings))
    for name, origin in origins(os.environ, sys.argv[1:]).items():
        log.info("a setting is stated", setting=name, value=getattr(settings, name), by=origin)
    for problem in mistyped(os.environ):
        log.warning("a variable is ignored", problem=problem)
    status = 0
    try:
        asyncio.run(serve(settings))
    except* (ListenError, ManifestError, TritonStartError) as group:
        for error in group.exceptions:
            print(f"error: {error}", file=sys.stderr)
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
