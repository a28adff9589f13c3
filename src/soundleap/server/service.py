"""Everything that a running server holds: models, jobs, keys, counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from soundleap._version import __version__
from soundleap.requests import MAX_CHARACTERS, MAX_SEED, Request, Sample, complete_all
from soundleap.server.batching import model_failed, stopping
from soundleap.server.errors import ApiError, FieldFault
from soundleap.server.job_store import Jobs
from soundleap.server.limits import Keys, RateLimiter
from soundleap.server.metrics import Gauge, Metrics
from soundleap.server.models import DEFAULT, ServedModel, served_models
from soundleap.server.settings import ServerSettings
from soundleap.server.work import Work

SWEEP_IN_S = 2.0


class Service:
    """The server behind the routes.

    Attributes:
        settings: what it was started with.
        metrics: what is counted.
        models: by id, the default one first.
        keys: who may ask; None lets everybody in.
        limiter: how often; None for no limit.
        jobs: those that run and those whose results are kept.
        stopping: whether new work is refused.
    """

    def __init__(self, settings: ServerSettings) -> None:
        """Open the models that are here; nothing is loaded yet.

        Raises:
            InputError: for a setting that is not allowed.
            BundleError: for a model that is missing or not valid.
        """
        self.settings = settings
        self.metrics = Metrics()
        self.models = served_models(settings)
        self.keys = Keys.from_file(settings.api_key_file) if settings.api_key_file else None
        self.limiter = RateLimiter(settings.rate_limit) if settings.rate_limit else None
        self.jobs = Jobs(settings)
        self.stopping = False
        self.started = time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()
        self._add_gauges()

    def start(self) -> None:
        """Begin to load the models; returns at once."""
        for model in self.models.values():
            self._run(model.start(self.metrics, self._queue_changed))
        self._run(self._sweep())

    async def stop(self) -> None:
        """Refuse new work, report what waits as cancelled, finish what runs, end the workers.

        Asked for again it does nothing.
        """
        if self.stopping:
            return
        self.stopping = True
        for task in self._tasks:
            task.cancel()
        self.jobs.stop()
        dispatchers = [m.dispatcher for m in self.models.values() if m.dispatcher is not None]
        await asyncio.gather(*(d.stop(self.settings.drain_timeout_in_s) for d in dispatchers))

    def abandon(self) -> None:
        """End every worker process at once, finished or not; works without an event loop."""
        for model in self.models.values():
            for worker in model.dispatcher.workers if model.dispatcher is not None else []:
                worker.end()

    @property
    def status(self) -> str:
        """One of loading, ready, failed, stopping."""
        if self.stopping:
            return "stopping"
        states = {model.status for model in self.models.values()}
        return next(s for s in ("failed", "loading", "ready") if s in states)

    def health(self) -> dict[str, Any]:
        """Give what /health tells."""
        return {
            "status": self.status,
            "version": __version__,
            "models": {id: model.health() for id, model in self.models.items()},
            "uptime_in_s": round(time.monotonic() - self.started, 3),
        }

    def model(self, id: str | None) -> ServedModel:
        """Find a model that can be asked; None and "default" are the first one.

        Raises:
            ApiError: for an unknown one, or one that is loading or has failed.
        """
        if self.stopping:
            raise stopping()
        first = next(iter(self.models.values()))
        model = first if id is None else self.models.get(id, first if id == DEFAULT else None)
        if model is None:
            known = ", ".join(self.models)
            message = f"unknown model {id[:100]!r} (known: {known})" if id else "model is empty"
            raise ApiError(422, "invalid_value", message,
                           [FieldFault("model", message, (id or "")[:100], known)])  # fmt: skip
        if model.status == "failed":
            raise model_failed(model.id)
        if model.status == "loading":
            message = f"model {model.id!r} is being loaded; try again in a moment"
            raise ApiError(503, "loading", message, retry_after=2)
        return model

    def complete(self, model: ServedModel, requests: Sequence[Request]) -> list[Sample]:
        """Fill in a model's defaults and check every value but the number of tokens.

        Raises:
            InputError: for the first value that is not allowed.
        """
        assert model.bundle is not None
        return complete_all(requests, model.bundle.manifest)

    def submit(
        self,
        model: ServedModel,
        samples: Sequence[Sample],
        client: str,
        *,
        patient: bool,
        best_of: int = 1,
    ) -> list[Work]:
        """Queue samples; see `Dispatcher.submit`.

        Raises:
            ApiError: if there is no room for them.
        """
        assert model.dispatcher is not None
        loop = asyncio.get_running_loop()
        works = [Work(client, sample, loop.create_future(), best_of=best_of) for sample in samples]
        model.dispatcher.submit(works, patient=patient)
        return works

    def limits(self) -> dict[str, Any]:
        """Give the limits that clients should know."""
        names = (
            "max_takes", "max_best_of", "max_audio_in_s", "max_queue", "max_queue_per_client",
            "max_body_bytes", "max_upload_bytes", "results_kept_in_s", "results_kept_bytes",
        )  # fmt: skip
        return {
            "max_prompt_characters": MAX_CHARACTERS,
            **{name: getattr(self.settings, name) for name in names},
            "seed": {"min": 0, "max": MAX_SEED},
        }

    def _run(self, coroutine: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _queue_changed(self) -> None:
        self.jobs.positions_changed()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_IN_S)
            self.jobs.sweep()

    def _add_gauges(self) -> None:
        def by_model(name: str) -> dict[tuple[str, ...], float]:
            found = ((m.id, m.dispatcher) for m in self.models.values())
            return {(id,): float(_measure(name, d)) for id, d in found if d is not None}

        model = ("model",)
        for name, help in _GAUGES.items():
            metric = f"soundleap_{name}"
            self.metrics.add(Gauge(metric, help, model, lambda name=name: by_model(name)))
        self.metrics.add(Gauge("soundleap_jobs", "Jobs by status.", ("status",), self.jobs.counts))
        self.metrics.add(
            Gauge(
                "soundleap_results_bytes",
                "Sound that finished jobs hold.",
                (),
                lambda: {(): float(self.jobs.kept_bytes)},
            )
        )


_GAUGES = {
    "queue_length": "Sounds that wait.",
    "workers_ready": "Workers that are ready or at work.",
    "workers_busy": "Workers at work.",
}


def _measure(name: str, dispatcher: Any) -> int:
    if name == "queue_length":
        return len(dispatcher.queue)
    return dispatcher.ready if name == "workers_ready" else dispatcher.running
