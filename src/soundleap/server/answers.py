"""Shapes of JSON answers, for the OpenAPI description."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from soundleap.server.errors import ErrorType
from soundleap.server.jobs import JobStatus, TakeStatus


class Fault(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str
    value: str | float | bool | None
    allowed: str | None


class ErrorBody(BaseModel):
    """Why there is no sound."""

    message: str
    type: ErrorType
    code: str
    param: str | None
    fields: list[Fault]
    request_id: str | None


class ErrorAnswer(BaseModel):
    """Every answer from status 400 on."""

    error: ErrorBody


class ModelHealth(BaseModel):
    """Whether a model can be asked."""

    status: Literal["loading", "ready", "failed"]
    workers: int
    workers_ready: int
    error: str | None


class Health(BaseModel):
    """Whether the server can be asked."""

    status: Literal["loading", "ready", "failed", "stopping"]
    version: str
    models: dict[str, ModelHealth]
    uptime_in_s: float


class Alive(BaseModel):
    """That the server is there."""

    status: Literal["alive"]


class Range(BaseModel):
    """A value's default and limits."""

    default: int | float
    min: int | float
    max: int | float


class NetworkLimits(BaseModel):
    """What a network takes."""

    num_inference_steps: Range
    guidance_scale: Range


class ModelAnswer(BaseModel):
    """A model; what is null is not known before it is fetched."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    default: bool
    status: Literal["loading", "ready", "failed"]
    error: str | None
    device: str | None
    name: str | None = None
    version: str | None = None
    kind: str | None = None
    licence: str | None = None
    fingerprint: str | None = None
    size_in_bytes: int | None = None
    sampling_rate: int | None = None
    duration_in_s: Range | None = None
    networks: dict[str, NetworkLimits] | None = None
    solvers: list[str] | None = None
    default_solver: str | None = None
    structured_captions: bool | None = None
    negative_prompt: bool | None = None
    quality: dict[str, float] | None = None
    ranking: bool | None = None


class ModelList(BaseModel):
    """All models, and what the server allows."""

    object: Literal["list"]
    data: list[ModelAnswer]
    formats: list[str]
    limits: dict[str, Any]


class TakeAnswer(BaseModel):
    """One sound of a job."""

    number: int
    status: TakeStatus
    seed: int
    step: int
    steps: int
    sampling_rate: int | None
    samples: int | None
    duration_in_s: float | None
    peak: float | None
    loudness_dbfs: float | None
    seconds: dict[str, float] | None
    metadata: dict[str, Any] | None
    audio: dict[str, str] | None
    error: ErrorBody | None


class JobAnswer(BaseModel):
    """A job."""

    id: str
    status: JobStatus
    model: str
    created: float
    started: float | None
    finished: float | None
    expires: float | None
    position: int | None
    settings: dict[str, Any]
    takes: list[TakeAnswer]
    error: ErrorBody | None
    links: dict[str, str]


class MetadataAnswer(BaseModel):
    """What a sound file says about itself."""

    metadata: dict[str, Any]
    settings: dict[str, Any]
    model: str | None
    model_name: str | None
    model_version: str | None
    same_model: bool


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors that a route can answer with."""
    return {status: {"model": ErrorAnswer} for status in statuses}
