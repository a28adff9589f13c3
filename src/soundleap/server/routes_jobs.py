"""Routes of jobs: several takes of a request, made while nobody holds a connection."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from soundleap.audio.names import file_name
from soundleap.errors import AudioFileError, InputError
from soundleap.requests import spread_seeds
from soundleap.server.answers import JobAnswer, errors
from soundleap.server.archive import archive, chosen_takes
from soundleap.server.errors import ApiError, field_error, from_input
from soundleap.server.formats import AudioFormat, encode
from soundleap.server.guard import Visit
from soundleap.server.jobs import Event, Job, Take
from soundleap.server.routes_audio import check_length, json_only, note
from soundleap.server.schemas import FileFormat, JobBody
from soundleap.server.service import Service
from soundleap.server.work import Work

KEEP_ALIVE_IN_S = 10.0
LAST_EVENTS = ("done", "failed", "cancelled")
_AUDIO_NAME = r"^[1-9][0-9]{0,3}\.(wav|flac|ogg|opus|mp3)$"

router = APIRouter(prefix="/v1/jobs", responses=errors(401, 403, 404, 410, 422))


def _job(request: Request, id: Annotated[str, Path(max_length=100)]) -> Job:
    service: Service = request.app.state.service
    owner = request.state.visit.client if service.keys is not None else None
    return service.jobs.get(id, owner)


FoundJob = Annotated[Job, Depends(_job)]


@router.post(
    "",
    status_code=202,
    summary="Ask for several takes",
    response_model=JobAnswer,
    responses=errors(400, 408, 413, 415, 429, 503),
    dependencies=[Depends(json_only)],
)
async def create(request: Request, response: Response, body: JobBody) -> dict[str, Any]:
    """Queue takes of one request; take k has the seed of the first one plus k - 1."""
    service: Service = request.app.state.service
    visit: Visit = request.state.visit
    most = service.settings.max_takes
    if body.count > most:
        message = f"count is {body.count}; allowed: 1 to {most}"
        raise field_error("count", message, body.count, f"1 to {most}")
    asked, best_of = body.request(), body.tries(service.settings.max_best_of)
    model = service.model(body.asked_model)
    try:
        samples = service.complete(model, spread_seeds([asked], None, body.count))
    except InputError as error:
        text = str(error).partition(": ")[2] if str(error).startswith("request ") else str(error)
        given = body.model_dump(exclude_unset=True)
        raise from_input(InputError(text), given, body.names()) from None
    check_length(service, samples[0], body.count * best_of, body.names())
    if not service.jobs.room:
        raise ApiError(429, "queue_full", "too many jobs are open; try later", retry_after=30)
    note(service, visit, model.id, samples[0])
    works = service.submit(model, samples, visit.client, patient=True, best_of=best_of)
    dispatcher = model.dispatcher
    assert dispatcher is not None

    def place(work: Work) -> int:
        return dispatcher.queue.position(work.client, work)

    job = service.jobs.add(visit.client, model.id, works, place)
    visit.notes["job"] = job.id
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job.body(service.settings.results_kept_in_s)


@router.get("/{id}", summary="See how a job stands", response_model=JobAnswer)
async def show(request: Request, job: FoundJob) -> dict[str, Any]:
    """Give a job and its takes."""
    return job.body(request.app.state.service.settings.results_kept_in_s)


@router.delete("/{id}", summary="Cancel or drop a job", response_model=JobAnswer)
async def remove(request: Request, job: FoundJob) -> dict[str, Any]:
    """Cancel what is not made yet, and keep what is; drop the sounds of a finished job."""
    service: Service = request.app.state.service
    kept = service.settings.results_kept_in_s
    if job.finished is None:
        job.cancel()
        return job.body(kept)
    service.jobs.drop(job)
    return job.body(kept)


@router.get(
    "/{id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def events(request: Request, job: FoundJob) -> StreamingResponse:
    """Send the job's state, then its events until it is finished (server-sent events)."""
    kept = request.app.state.service.settings.results_kept_in_s
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(job, kept), media_type="text/event-stream", headers=headers)


async def _events(job: Job, kept: float) -> AsyncIterator[str]:
    queue: asyncio.Queue[Event] = asyncio.Queue()
    job.listeners.add(queue)
    try:
        yield _event("state", job.body(kept))
        if job.finished is not None:
            name = job.status if job.status in LAST_EVENTS else "cancelled"
            yield _event(name, job.body(kept))
            return
        while True:
            try:
                name, data = await asyncio.wait_for(queue.get(), KEEP_ALIVE_IN_S)
            except TimeoutError:
                yield ": keep-alive\n\n"
                continue
            last = name in LAST_EVENTS
            yield _event(name, job.body(kept) if last else data)
            if last:
                return
    finally:
        job.listeners.discard(queue)


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


@router.get(
    "/{id}/audio/{name}",
    summary="Fetch a take",
    response_class=Response,
    responses=errors(409)
    | {
        304: {"description": "The client has it."},
        200: {"content": {"audio/*": {"schema": {"type": "string", "format": "binary"}}}},
    },
)
async def audio(
    request: Request,
    job: FoundJob,
    name: Annotated[str, Path(pattern=_AUDIO_NAME, description="Number and format: 1.wav")],
    download: Annotated[bool, Query(description="Have browsers save it.")] = False,
) -> Response:
    """Give the sound of a take in any format, with its metadata in it."""
    number, _, kind = name.partition(".")
    take = job.take(int(number))
    made = _made(take)
    try:
        encoded = await asyncio.to_thread(encode, made, AudioFormat(kind))  # pyright: ignore[reportArgumentType]
    except AudioFileError as error:
        raise field_error("name", str(error), name) from None
    tag = f'"{hashlib.sha256(encoded.data).hexdigest()[:32]}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "private, max-age=3600",
        "X-Seed": str(take.seed),
        "X-Model": job.model,
        "X-Sampling-Rate": str(encoded.sampling_rate),
    }
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    if download:
        sample = take.work.sample
        saved_as = file_name(take.number, sample.prompt, take.seed, kind)
        headers["Content-Disposition"] = f'attachment; filename="{saved_as}"'
    return Response(encoded.data, media_type=encoded.media_type, headers=headers)


@router.get(
    "/{id}/archive.zip",
    summary="Fetch several takes",
    response_class=Response,
    responses=errors(409)
    | {200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def archive_zip(
    job: FoundJob,
    takes: Annotated[
        str | None,
        Query(description="Numbers with commas; all that are done if left out.", max_length=10_000),
    ] = None,
    format: FileFormat = "wav",
) -> Response:
    """Give takes as one zip."""
    chosen = chosen_takes(job, takes)
    for take in chosen:
        _made(take)
    try:
        data = await asyncio.to_thread(archive, chosen, format)
    except AudioFileError as error:
        raise field_error("format", str(error), format) from None
    headers = {"Content-Disposition": f'attachment; filename="{job.id}.zip"'}
    return Response(data, media_type="application/zip", headers=headers)


def _made(take: Take) -> Any:
    if take.made is None:
        raise ApiError(409, "not_ready", f"take {take.number} is {take.status}; there is no sound")
    return take.made
