"""The ASGI application."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from soundleap._version import __version__
from soundleap.server import routes_audio, routes_info, routes_jobs
from soundleap.server.errors import ApiError, from_validation
from soundleap.server.guard import Guard
from soundleap.server.schemas import Body, GenerateBody, JobBody, SoundGenerationBody, SpeechBody
from soundleap.server.service import Service
from soundleap.server.settings import ServerSettings

BODIES: dict[str, type[Body]] = {
    "/v1/audio/generate": GenerateBody,
    "/v1/audio/speech": SpeechBody,
    "/v1/jobs": JobBody,
    "/v1/sound-generation": SoundGenerationBody,
}
_CODES = {404: "not_found", 405: "method_not_allowed", 400: "invalid_json"}
_SHOWN_HEADERS = (
    "X-Seed", "X-Model", "X-Sampling-Rate", "X-Duration-In-S", "X-Guidance-Scale", "X-Request-Id",
    "X-Resampled-From", "Server-Timing", "Location", "Retry-After", "Content-Disposition",
)  # fmt: skip


def create_app(settings: ServerSettings | None = None) -> FastAPI:
    """Make the application; its models begin to load when it is started.

    Args:
        settings: None for the model that comes with the package and nothing else.

    Returns:
        An ASGI application; ``app.state.service`` is the `Service` behind it.

    Raises:
        InputError: for a setting that is not allowed.
        BundleError: for a model that is missing or not valid.
    """
    service = Service(settings or ServerSettings())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="Soundleap",
        version=__version__,
        summary="Text in, sound out, in one to four network queries.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.service = service
    described = [Depends(_BEARER), Depends(_KEY_HEADER)] if service.keys is not None else []
    for routes in (routes_info, routes_audio, routes_jobs):  # the keys are checked in `Guard`
        app.include_router(routes.router, dependencies=described)
    if routes_info.PAGE.is_dir():
        app.mount("/page", routes_info.PageFiles(directory=routes_info.PAGE))
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(Guard, service=service)
    if service.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Request-Id", "xi-api-key"],
            expose_headers=list(_SHOWN_HEADERS),
        )
    return app


_BEARER = HTTPBearer(auto_error=False)
_KEY_HEADER = APIKeyHeader(name="xi-api-key", auto_error=False)


def _answer(request: Request, error: ApiError) -> Response:
    visit = request.state.visit
    visit.notes["code"] = error.code
    body = json.dumps({"error": error.body(visit.request_id)})
    return Response(body, error.status, error.headers, "application/json")


def _api_error(request: Request, error: Any) -> Response:
    return _answer(request, error)


def _not_valid(request: Request, error: Any) -> Response:
    body = BODIES.get(request.scope["path"])
    known = list(body.model_fields) if body is not None else []
    return _answer(request, from_validation(error.errors(), known))


def _http_error(request: Request, error: Any) -> Response:
    status = error.status_code
    text = {404: "there is nothing here", 405: "this method is not allowed here"}.get(status)
    code = _CODES.get(status, "invalid_request")
    answer = _answer(request, ApiError(status, code, text or "the request can't be read"))
    answer.headers.update(error.headers or {})
    return answer
