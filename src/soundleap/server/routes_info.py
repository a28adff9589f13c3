"""Routes that tell of the server, its models and sound files; and the studio page."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from soundleap.audio.metadata import read_metadata
from soundleap.audio.names import FORMATS
from soundleap.errors import AudioFileError
from soundleap.requests import Request as SoundRequest
from soundleap.server.answers import (
    Alive,
    Health,
    MetadataAnswer,
    ModelAnswer,
    ModelList,
    errors,
)
from soundleap.server.errors import ApiError
from soundleap.server.service import Service

PAGE = Path(__file__).parent / "page"
PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; script-src 'self'; "
    "style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "worker-src 'self' blob:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'self'",
}

router = APIRouter()


@router.get(
    "/health",
    summary="See whether sounds can be asked for",
    response_model=Health,
    responses={503: {"model": Health}},
)
async def health(request: Request) -> Response:
    """Answer 200 when every model is ready, else 503 and why."""
    facts = request.app.state.service.health()
    ready = facts["status"] == "ready"
    headers = {} if ready else {"Retry-After": "2"}
    return JSONResponse(facts, 200 if ready else 503, headers)


@router.get("/health/live", summary="See whether the server is there", response_model=Alive)
async def alive() -> dict[str, str]:
    """Answer 200 while the process runs."""
    return {"status": "alive"}


@router.get(
    "/metrics",
    summary="Counts for Prometheus",
    response_class=PlainTextResponse,
    responses=errors(401, 403),
)
async def metrics(request: Request) -> Response:
    """Give counts, queue lengths and times in Prometheus' text form."""
    text = request.app.state.service.metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4")


@router.get(
    "/v1/models",
    summary="List models",
    response_model=ModelList,
    responses=errors(401, 403),
)
async def models(request: Request) -> dict[str, Any]:
    """Give models with their limits, and the server's."""
    service: Service = request.app.state.service
    return {
        "object": "list",
        "data": [_model(service, id) for id in service.models],
        "formats": list(FORMATS),
        "limits": service.limits(),
    }


@router.get(
    "/v1/models/{id:path}",
    summary="See a model",
    response_model=ModelAnswer,
    responses=errors(401, 403, 404, 422),
)
async def model(request: Request, id: str) -> dict[str, Any]:
    """Give one model; ids of the hub hold a slash."""
    service: Service = request.app.state.service
    if id not in service.models:
        known = ", ".join(service.models)
        raise ApiError(404, "not_found", f"there is no such model (known: {known})")
    return _model(service, id)


def _model(service: Service, id: str) -> dict[str, Any]:
    return service.models[id].description(id == next(iter(service.models)))


@router.post(
    "/v1/metadata",
    summary="Read a sound file's settings",
    response_model=MetadataAnswer,
    responses=errors(401, 403, 408, 413, 422, 429),
    openapi_extra={
        "requestBody": {
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
            "required": True,
        }
    },
)
async def metadata(request: Request) -> dict[str, Any]:
    """Read what a file that Soundleap made says about itself; the body is the file."""
    service: Service = request.app.state.service
    found = await asyncio.to_thread(_metadata_of, await request.body())
    fingerprint = found.get("model_fingerprint")
    served = [
        model.id
        for model in service.models.values()
        if model.bundle is not None and model.bundle.manifest.fingerprint == fingerprint
    ]
    names = SoundRequest.__dataclass_fields__
    return {
        "metadata": found,
        "settings": {name: found[name] for name in names if name in found},
        "model": served[0] if served else None,
        "model_name": _text(found.get("model")),
        "model_version": _text(found.get("model_version")),
        "same_model": bool(served),
    }


def _metadata_of(data: bytes) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="soundleap-") as folder:
        file = Path(folder) / "file"
        file.write_bytes(data)
        try:
            return read_metadata(file)
        except (AudioFileError, RecursionError) as error:
            message = str(error).replace(str(file), "the file")
            raise ApiError(422, "invalid_value", message) from None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """Give the studio page."""
    index = PAGE / "index.html"
    if index.is_file():
        return FileResponse(index, headers=PAGE_HEADERS)
    text = "Soundleap is running. It is described at /openapi.json; ask POST /v1/audio/generate.\n"
    return PlainTextResponse(text, headers=PAGE_HEADERS)


class PageFiles(StaticFiles):
    """The page's files: asked for anew each time, but kept for ever under ``?v=...``."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Give a file."""
        response = await super().get_response(path, scope)
        response.headers.update(PAGE_HEADERS)
        if b"v=" in scope.get("query_string", b"") and response.status_code in (200, 304):
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response
