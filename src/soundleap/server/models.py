"""The models that a server has."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from soundleap.adapters import UsedAdapters
from soundleap.bundle import Bundle
from soundleap.bundle_schema import NetworkName, TeacherSolver
from soundleap.errors import BundleError, InputError
from soundleap.ranking import available
from soundleap.resolve import KNOWN_MODELS, open_model
from soundleap.server.batching import Dispatcher
from soundleap.server.metrics import Metrics
from soundleap.server.settings import ServerSettings
from soundleap.server.worker import WorkerOptions

T = TypeVar("T")
Status = Literal["loading", "ready", "failed"]

DEFAULT = "default"
"""The id that always means the first model."""


class ServedModel:
    """One model, from its name to its workers.

    Attributes:
        id: what clients call it.
        source: what it was asked for as.
        bundle: its folder, once it is found.
        dispatcher: its queue and workers, once its folder is found.
    """

    def __init__(self, id: str, source: str, settings: ServerSettings) -> None:
        """Find the model, unless it must be fetched first.

        Raises:
            InputError: for an unknown name.
            BundleError: if it is missing or not valid.
        """
        self.id = id
        self.source = source
        self.settings = settings
        self.bundle: Bundle | None = None if _from_hub(source) else open_model(source)
        self.dispatcher: Dispatcher | None = None
        self._failure: str | None = None

    async def start(self, metrics: Metrics, changed: Callable[[], None]) -> None:
        """Fetch the model where needed, and start its workers."""
        if self.bundle is None:
            try:
                self.bundle = await _in_thread_of_its_own(lambda: open_model(self.source))
            except (InputError, BundleError) as error:
                self._failure = str(error)
                return
        settings = self.settings
        threads = None
        if settings.workers > 1:
            threads = max(1, (os.cpu_count() or 1) // settings.workers)
        options = WorkerOptions(
            folder=Path(self.bundle.folder),
            device=settings.device,
            dtype=settings.dtype,
            low_memory=settings.low_memory,
            max_batch_size=settings.max_batch_size,
            threads=threads,
            adapters=settings.adapters,
        )
        self.dispatcher = Dispatcher(self.id, options, settings, metrics, changed)
        self.dispatcher.start()

    @property
    def failure(self) -> str | None:
        """Why it can't be served; None if it can or may."""
        return self._failure or (self.dispatcher.failure if self.dispatcher else None)

    @property
    def status(self) -> Status:
        """Whether sounds can be asked for."""
        if self.failure is not None:
            return "failed"
        return "ready" if self.dispatcher is not None and self.dispatcher.ready else "loading"

    @property
    def device(self) -> str | None:
        """Where it is; None until it is loaded."""
        workers = self.dispatcher.workers if self.dispatcher else []
        return next((worker.facts["device"] for worker in workers if worker.facts), None)

    def health(self) -> dict[str, Any]:
        """Give what /health tells of it."""
        return {
            "status": self.status,
            "workers": self.settings.workers,
            "workers_ready": self.dispatcher.ready if self.dispatcher else 0,
            "error": self.failure,
        }

    def description(self, default: bool) -> dict[str, Any]:
        """Give what /v1/models tells of it."""
        head = {
            "id": self.id,
            "object": "model",
            "created": 0,
            "owned_by": "soundleap",
            "default": default,
            "status": self.status,
            "error": self.failure,
            "device": self.device,
        }
        return head | (_facts(self.bundle) if self.bundle is not None else {})


def served_models(settings: ServerSettings) -> dict[str, ServedModel]:
    """Make the models of a server by id.

    A known name is its own id, a folder's id is its name, a hub id stays as it is.

    Raises:
        InputError: if two have the same id.
        BundleError: if one, or an adapter, is missing or not valid.
    """
    models: dict[str, ServedModel] = {}
    for source in settings.models:
        plain = source in KNOWN_MODELS or not os.path.exists(source)
        id = source if plain else Path(source).resolve().name
        if id in models or (id == DEFAULT and models):
            raise InputError(
                f"two models are called {id!r}; rename a folder"
                if id in models
                else f"model {id!r} must come first: requests that name none get it"
            )
        own = replace(settings, adapters=()) if models else settings
        models[id] = ServedModel(id, source, own)
        if own.adapters and (bundle := models[id].bundle) is not None:
            UsedAdapters(own.adapters, bundle.manifest)
    return models


def _from_hub(source: str) -> bool:
    """Tell whether a model may have to be fetched, which takes long."""
    if source in KNOWN_MODELS or os.path.exists(source):
        return False
    return source.count("/") == 1 and source[0].isalnum()


async def _in_thread_of_its_own(function: Callable[[], T]) -> T:
    """Wait for a function; unlike a pool's thread, its own does not keep a process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(outcome: Callable[[], None]) -> None:
        if not future.done():
            outcome()

    def run() -> None:
        try:
            value = function()
        except Exception as error:
            outcome = partial(future.set_exception, error)
        else:
            outcome = partial(future.set_result, value)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, outcome)

    threading.Thread(target=run, daemon=True).start()
    return await future


def _facts(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    sampling = manifest.sampling
    student = manifest.networks[0] == "student"
    return {
        "name": manifest.name,
        "version": manifest.version,
        "kind": manifest.kind,
        "licence": manifest.licence,
        "fingerprint": manifest.fingerprint,
        "size_in_bytes": manifest.size_in_bytes,
        "sampling_rate": manifest.sampling_rate,
        "duration_in_s": {
            "default": sampling.usual_duration_in_s,
            "min": sampling.min_duration_in_s,
            "max": sampling.max_duration_in_s,
        },
        "networks": {name: _limits(bundle, name) for name in manifest.networks},
        "solvers": list(get_args(TeacherSolver)) if "teacher" in manifest.networks else [],
        "default_solver": sampling.teacher_solver,
        "structured_captions": sampling.structured_captions,
        "negative_prompt": not student or sampling.takes_negative,
        "quality": manifest.quality,
        "ranking": available(),
    }


def _limits(bundle: Bundle, network: NetworkName) -> dict[str, Any]:
    sampling = bundle.manifest.sampling
    default, most = sampling.step_limits(network)
    low, high = sampling.guidance_limits(network)
    scale = sampling.default_guidance_scale
    return {
        "num_inference_steps": {"default": default, "min": 1, "max": most},
        "guidance_scale": {"default": scale, "min": low, "max": high},
    }
