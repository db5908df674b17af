"""The gateway as an ASGI application: which path does what, and the page that says so."""

# FastAPI finds its functions by decorators.
# pyright: reportUnusedFunction=false

import uuid
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import structlog
from echomimic.v1 import avatar_service_pb2 as pb
from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi_offline import FastAPIOffline  # pyright: ignore[reportMissingTypeStubs]
from google.protobuf.message import Message
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from server.api.avatars import delete_avatar, get_avatar, list_avatars
from server.api.calls import Call
from server.api.status import to_status
from server.errors import AvatarError
from server.http.avatars import Asked, Create
from server.http.examples import render_examples
from server.http.post import FILMS, JPEGS, Check, Film, Pictures, Post, Still
from server.http.problems import MEDIA_TYPE, headers, problem
from server.http.requests import AnimateParts, PortraitParts, RenderBody, RenderParts
from server.http.socket import Socket
from server.http.speech import Speaker, Speech, SpeechBody
from server.http.studio import add_studio
from server.sessions.gateway import Gateway

log = structlog.get_logger()

PROBLEM = {
    "description": "A problem (RFC 9457) with the reason that gRPC gives, too.",
    "content": {MEDIA_TYPE: {"schema": {"type": "object"}}},
}
PROBLEMS: dict[int | str, dict[str, Any]] = {"default": PROBLEM}


class _Answer(Response):
    """Leaves the whole answer to a function, which may send it bit by bit."""

    def __init__(self, answer: Callable[[Send], Awaitable[None]]) -> None:
        super().__init__()
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(send)


Measured = Callable[[], tuple[bytes, str]]
"""Returns what is measured as a page for Prometheus, and the page's media type."""


def make_app(
    gateway: Gateway, works: Callable[[], bool], measured: Measured | None = None
) -> FastAPI:
    """Returns the application.

    Args:
        gateway: draws.
        works: tells whether it can.
        measured: for the path of metrics; None leaves it out.
    """
    # FastAPI's own page loads its scripts from elsewhere.
    app = FastAPIOffline(
        redoc_url=None,
        static_url="/docs/static",
        # Else the page would show an outside service where it is.
        swagger_ui_parameters={"validatorUrl": None},
        title="EchoMimic gateway",
        version=version("echomimic-server"),
        description="A portrait and speech in, video out. docs/http.md says more.",
    )
    settings = gateway.offer.settings

    def answered(kind: type[Post], request: Request) -> Response:
        return _Answer(lambda send: kind(request, send, settings).run(gateway))

    @app.post(
        "/render",
        summary="One frame of a portrait that speaks",
        response_class=JSONResponse,
        responses={"default": PROBLEM},
        openapi_extra=_body(
            {
                "application/json": {
                    "schema": _schema(RenderBody),
                    "examples": render_examples(),
                },
                "multipart/form-data": {"schema": _schema(RenderParts)},
            }
        ),
    )
    async def render(request: Request) -> Response:
        """Answers with `frame` in the form in which `image` came: rows of pixels, or base64."""
        return answered(Still, request)

    @app.post(
        "/v1/animate",
        summary="A portrait that speaks, as a film or frame by frame",
        response_class=Response,
        responses={
            200: {"content": {kind: {} for kind in (*FILMS, JPEGS)}},
            "default": PROBLEM,
        },
        openapi_extra=_body({"multipart/form-data": {"schema": _schema(AnimateParts)}}),
    )
    async def animate(request: Request, live: str = "false") -> Response:
        """Answers with what `Accept` asks for: a film, or `multipart/x-mixed-replace`.

        With `live=true` a `video/mp4` is fragmented, and comes while it is made.
        """
        return answered(Pictures if JPEGS in request.headers.get("accept", "") else Film, request)

    speaker = Speaker(settings)

    @app.post(
        "/v1/speech",
        summary="A text, spoken: PCM as it comes",
        response_class=Response,
        responses={200: {"content": {"audio/pcm": {}}}, "default": PROBLEM},
        openapi_extra=_body({"application/json": {"schema": _schema(SpeechBody)}}),
    )
    async def speech(request: Request) -> Response:
        """Answers with 16-bit samples, little-endian, one channel; `content-type` has the rate."""
        return _Answer(lambda send: Speech(request, send, settings, speaker).run(gateway))

    @app.post(
        "/v1/portraits/check",
        summary="What could be better about a portrait",
        response_class=JSONResponse,
        responses={"default": PROBLEM},
        openapi_extra=_body({"multipart/form-data": {"schema": _schema(PortraitParts)}}),
    )
    async def check(request: Request) -> Response:
        """Answers with a CheckPortraitResponse in protobuf's JSON."""
        return answered(Check, request)

    @app.post(
        "/v1/avatars",
        summary="A portrait, prepared once for many streams",
        response_class=JSONResponse,
        responses={"default": PROBLEM},
        openapi_extra=_body({"multipart/form-data": {"schema": _schema(PortraitParts)}}),
    )
    async def create(request: Request) -> Response:
        """Answers with a CreateAvatarResponse in protobuf's JSON."""
        return answered(Create, request)

    def asked(
        request: Request, message: Message, work: Callable[[Gateway, Call], Awaitable[None]]
    ) -> Response:
        return _Answer(lambda send: Asked(request, send, message, work).run(gateway))

    @app.get("/v1/avatars", summary="Your avatars, the oldest first", responses=PROBLEMS)
    async def avatars(request: Request) -> Response:
        return asked(request, pb.ListAvatarsRequest(), list_avatars)

    @app.get("/v1/avatars/{avatar_id}", summary="What is known of an avatar", responses=PROBLEMS)
    async def avatar(request: Request, avatar_id: str) -> Response:
        return asked(request, pb.GetAvatarRequest(avatar_id=avatar_id), get_avatar)

    @app.delete("/v1/avatars/{avatar_id}", summary="Forgets an avatar", responses=PROBLEMS)
    async def forget(request: Request, avatar_id: str) -> Response:
        return asked(request, pb.DeleteAvatarRequest(avatar_id=avatar_id), delete_avatar)

    @app.websocket("/v1/stream")
    async def stream(websocket: WebSocket) -> None:
        await Socket(websocket).run(gateway)

    if settings.studio:
        add_studio(app, settings.default_portrait if gateway.access.is_open else None)

    @app.get("/healthz", summary="Whether the process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether it can animate now", responses={503: PROBLEM})
    async def readyz() -> Response:
        if works() and gateway.admission.is_open:
            return JSONResponse({"status": "ok"})
        return _plain_problem(HTTPStatus.SERVICE_UNAVAILABLE, "no Triton works, or it is the end")

    if measured is not None:

        @app.get(
            "/metrics",
            summary="What is measured, for Prometheus",
            response_class=PlainTextResponse,
            responses={"default": PROBLEM},
        )
        def metrics(request: Request) -> Response:
            """Answers whoever may ask what the server is."""
            client = request.client.host if request.client else "unknown"
            gateway.access.admit("GET /metrics", client, request.headers.items())
            page, media_type = measured()
            return Response(page, media_type=media_type)

    @app.exception_handler(AvatarError)
    async def failed(request: Request, error: AvatarError) -> Response:
        body = problem(to_status(error), uuid.uuid4().hex)
        log.warning(f"{request.method} {request.url.path}", **body)
        return JSONResponse(body, body["status"], headers(body))

    @app.exception_handler(HTTPException)
    async def refused(_request: Request, error: HTTPException) -> Response:
        return _plain_problem(HTTPStatus(error.status_code), str(error.detail), error.headers)

    return app


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


def _schema(kind: type[BaseModel]) -> dict[str, Any]:
    return kind.model_json_schema()


def _plain_problem(status: HTTPStatus, detail: str, headers: Any = None) -> Response:
    body = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
    }
    return JSONResponse(body, int(status), headers, MEDIA_TYPE)
