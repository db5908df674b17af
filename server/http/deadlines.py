"""How long a client gives its call, in gRPC's own header, as gateways from HTTP to gRPC take it."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from server.errors import DeadlineError, InvalidFieldError

HEADER = "grpc-timeout"
UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT = re.compile(rf"(\d{{1,8}})([{''.join(UNITS_S)}])")


def timeout_s(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds that a call may take, or None.

    Raises:
        InvalidFieldError: they cannot be read.
    """
    text = headers.get(HEADER)
    if text is None:
        return None
    stated = _TIMEOUT.fullmatch(text)
    if stated is None:
        problem = "is no time; send up to 8 digits and a unit, H, M, S, m, u or n, as 30S or 500m"
        raise InvalidFieldError(HEADER, problem)
    return int(stated[1]) * UNITS_S[stated[2]]


@asynccontextmanager
async def deadline(seconds: float | None) -> AsyncGenerator[None]:
    """Ends what runs in it after some seconds.

    Raises:
        DeadlineError: they have passed.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if seconds is None or not limit.expired():
            raise
        raise DeadlineError(seconds) from error
