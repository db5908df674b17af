"""A request's body to its parts, bounded before any of it is kept; nothing goes to disk."""

# The libraries' own annotations are partial.
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NoReturn

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from server.errors import InvalidFieldError, LimitError

MAX_JSON_BYTES = 24 * 2**20
"""Holds 1024x1024 pixels as nested lists. What JSON unfolds to takes up to 20 times its length."""
MAX_FILES, MAX_FIELDS = 4, 16

SMALL_BYTES = 2**16

_unfolding = asyncio.Lock()
"""One JSON of such a size is unfolded at a time."""


class _InMemory(MultiPartParser):
    """Keeps files in memory: the body is bounded."""

    spool_max_size = 2**40


async def read_body(request: Request, limit: int) -> Mapping[str, Any]:
    """Returns what a body holds, by name: JSON's values, or texts and files' bytes.

    Args:
        request: JSON or multipart.
        limit: its bytes, at most; JSON has a lower one, too.

    Raises:
        InvalidFieldError: it cannot be read.
        LimitError: it is too long.
        starlette.requests.ClientDisconnect: the client is gone.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        chunks = [chunk async for chunk in _bounded(request, min(limit, MAX_JSON_BYTES))]
        return await parsed_json(b"".join(chunks), "body")
    if kind == "multipart/form-data":
        return await _parts(request, _bounded(request, limit))
    raise InvalidFieldError("content-type", "is neither application/json nor multipart/form-data")


async def parsed_json(data: bytes | str, field: str) -> dict[str, Any]:
    """Returns the object that JSON holds.

    Raises:
        InvalidFieldError: it holds none.
    """
    if len(data) < SMALL_BYTES:
        value = _loads(data, field)
    else:
        async with _unfolding:
            value = await asyncio.to_thread(_loads, data, field)
    if not isinstance(value, dict):
        raise InvalidFieldError(field, "is no JSON object")
    return value  # pyright: ignore[reportUnknownVariableType]


def _loads(data: bytes | str, field: str) -> Any:
    try:
        return json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidFieldError(field, f"is no JSON: {error}"[:200]) from error


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes]:
    stated = request.headers.get("content-length", "0")
    size = int(stated) if stated.isascii() and stated.isdigit() else 0
    problem = f"the body is longer than {limit} bytes"
    if size > limit:
        raise LimitError("max_body_bytes", problem)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise LimitError("max_body_bytes", problem)
        yield chunk


async def _parts(request: Request, stream: AsyncGenerator[bytes]) -> dict[str, Any]:
    parser = _InMemory(request.headers, stream, max_files=MAX_FILES, max_fields=MAX_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidFieldError("body", error.message) from error
    except (FormParserError, ValueError, LookupError) as error:
        raise InvalidFieldError("body", "is no multipart/form-data") from error
    parts: dict[str, Any] = {}
    try:
        for name, value in form.multi_items():
            if name in parts:
                raise InvalidFieldError(name[:100], "was sent twice; send it once")
            parts[name] = await value.read() if isinstance(value, UploadFile) else value
    finally:
        await form.close()
    return parts
