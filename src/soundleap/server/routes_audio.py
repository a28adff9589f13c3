"""Routes that answer with a sound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from soundleap.bundle_schema import Manifest
from soundleap.errors import AudioFileError, InputError
from soundleap.requests import Request as SoundRequest
from soundleap.requests import Sample
from soundleap.server.answers import errors
from soundleap.server.errors import ApiError, field_error, from_input
from soundleap.server.formats import MEDIA_TYPES, AudioFormat, encode
from soundleap.server.guard import Visit
from soundleap.server.schemas import (
    Body,
    GenerateBody,
    SoundBody,
    SoundGenerationBody,
    SpeechBody,
    elevenlabs_format,
)
from soundleap.server.service import Service
from soundleap.server.work import Work
from soundleap.server.worker import Made


def json_only(request: Request) -> None:
    """Refuse a body that is not called JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "wrong_content_type", "send the body as Content-Type: application/json")


_HEADERS = {
    "X-Seed": {"description": "Seed that was used.", "schema": {"type": "integer"}},
    "X-Model": {"description": "Id of the model.", "schema": {"type": "string"}},
    "X-Sampling-Rate": {"description": "In Hz.", "schema": {"type": "integer"}},
    "X-Duration-In-S": {"description": "Length.", "schema": {"type": "number"}},
    "X-Request-Id": {"description": "As in the log.", "schema": {"type": "string"}},
}
_BYTES = {"schema": {"type": "string", "format": "binary"}}
SOUND: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The sound.",
        "headers": _HEADERS,
        "content": {kind.partition(";")[0]: _BYTES for kind in MEDIA_TYPES.values()},
    },
    **errors(400, 401, 403, 408, 413, 415, 422, 429, 500, 503, 504),
}
router = APIRouter(
    dependencies=[Depends(json_only)], responses=SOUND, default_response_class=Response
)


@router.post("/v1/audio/generate", summary="Make a sound")
async def generate(request: Request, body: GenerateBody) -> Response:
    """Make one sound, named as vLLM-Omni or Soundleap do; the same seed gives the same bytes."""
    return await _sound(request, body, AudioFormat(body.response_format))


@router.post("/v1/sound-generation", summary="Make a sound, as ElevenLabs' SDK asks")
async def sound_generation(
    request: Request,
    body: SoundGenerationBody,
    output_format: Annotated[str, Query(description="See ElevenLabs.")] = "mp3_44100_128",
    enable_logging: bool = True,
) -> Response:
    """Make one sound; it is resampled to the rate that the format names (see X-Resampled-From)."""
    wanted = elevenlabs_format(output_format)

    def with_guidance(asked: SoundRequest, manifest: Manifest) -> SoundRequest:
        scale = body.guidance(manifest.sampling, manifest.networks[0])
        return replace(asked, guidance_scale=scale)

    return await _sound(request, body, wanted, with_guidance)


@router.post("/v1/audio/speech", summary="Make a sound, as OpenAI's SDK asks")
async def speech(request: Request, body: SpeechBody) -> Response:
    """Make one sound of a prompt; nothing is spoken."""
    return await _sound(request, body, body.audio_format)


async def _sound(
    request: Request,
    body: Body,
    wanted: AudioFormat,
    adjust: Callable[[SoundRequest, Manifest], SoundRequest] | None = None,
) -> Response:
    service: Service = request.app.state.service
    visit: Visit = request.state.visit
    asked = body.request()
    best_of = body.tries(service.settings.max_best_of) if isinstance(body, SoundBody) else 1
    model = service.model(body.asked_model)
    assert model.bundle is not None
    try:
        if adjust is not None:
            asked = adjust(asked, model.bundle.manifest)
        sample = service.complete(model, [asked])[0]
        check_length(service, sample, best_of, body.names())
        note(service, visit, model.id, sample)
        work = service.submit(model, [sample], visit.client, patient=False, best_of=best_of)[0]
        made = await _wait(request, work)
    except InputError as error:
        raise from_input(error, body.model_dump(exclude_unset=True), body.names()) from None
    if made is None:
        return Response(status_code=499)
    return await _encoded(service, model.id, work, made, wanted)


async def _wait(request: Request, work: Work) -> Made | None:
    """Wait for a sound; None, and no more work on it, if the client goes away."""
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({work.future, gone}, return_when=asyncio.FIRST_COMPLETED)
        return work.future.result() if work.future.done() else None
    finally:
        gone.cancel()
        work.future.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _encoded(
    service: Service, model: str, work: Work, made: Made, wanted: AudioFormat
) -> Response:
    start = asyncio.get_running_loop().time()
    try:
        encoded = await asyncio.to_thread(encode, made, wanted)
    except AudioFileError as error:
        message = str(error)
        raise field_error("response_format", message, wanted.container) from None
    seconds = asyncio.get_running_loop().time() - start
    service.metrics.stages.observe(seconds, model, "encode")
    stages = {"queue": work.waited_in_s, **made.seconds, "encode": seconds}
    headers = {
        "X-Seed": str(made.metadata.get("seed", work.sample.seed)),
        "X-Model": model,
        "X-Sampling-Rate": str(encoded.sampling_rate),
        "X-Duration-In-S": f"{made.waveform.shape[-1] / made.sampling_rate:g}",
        "X-Guidance-Scale": f"{work.sample.guidance_scale:g}",
        "Server-Timing": ", ".join(f"{k};dur={1000 * v:.1f}" for k, v in stages.items()),
        "Cache-Control": "no-store",
    }
    if "ranking" in made.metadata:
        headers["X-Ranking-Scores"] = " ".join(map(str, made.metadata["ranking"]["scores"]))
    if encoded.sampling_rate != made.sampling_rate:
        headers["X-Resampled-From"] = str(made.sampling_rate)
    return Response(encoded.data, media_type=encoded.media_type, headers=headers)


def check_length(service: Service, sample: Sample, count: int, names: dict[str, str]) -> None:
    """Raise `ApiError` if one request asks for more sound than the server makes at once."""
    most, length = service.settings.max_audio_in_s, count * sample.duration_in_s
    if length > most:
        name = names.get("duration_in_s", "duration_in_s")
        message = (
            f"{name} is {sample.duration_in_s:g} s for {count} sounds, {length:g} s together; "
            f"allowed: at most {most:g} s together"
        )
        raise field_error(name, message, sample.duration_in_s, f"at most {most / count:g} s")


def note(service: Service, visit: Visit, model: str, sample: Sample) -> None:
    """Add to a request's log line what was asked for; the prompt only if that is wanted."""
    visit.notes |= {
        "model": model,
        "seed": sample.seed,
        "duration_in_s": sample.duration_in_s,
        "num_inference_steps": sample.num_inference_steps,
        "network": sample.network,
    }
    if service.settings.log_prompts:
        visit.notes |= {"prompt": sample.prompt, "negative_prompt": sample.negative_prompt}
