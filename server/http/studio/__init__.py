"""The page at `/`: static files, which a browser runs as they are, and the headers they go with."""

# FastAPI finds its functions by decorators.
# pyright: reportUnusedFunction=false

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".mjs": "text/javascript",
}
"""What is served of the folder; machines differ in what they take the suffixes for."""

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


class _Files(StaticFiles):
    """The page's own files, and nothing else of the folder."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Returns a file."""
        media_type = MEDIA_TYPES.get(Path(path).suffix)
        if media_type is None:
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS | {"content-type": f"{media_type}; charset=utf-8"})
        return response


def add_studio(app: FastAPI, portrait: Path | None) -> None:
    """Adds the page.

    Args:
        app: serves it, and what it asks for.
        portrait: what the page begins with, for everybody to see; None leaves that to its reader.
    """

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(FOLDER / "index.html", headers=HEADERS)

    @app.get("/studio/portrait", include_in_schema=False)
    async def begin_with() -> Response:
        if portrait is None:
            return Response(status_code=204, headers=HEADERS)
        return FileResponse(portrait, headers=HEADERS)

    app.mount("/studio", _Files(directory=FOLDER))
