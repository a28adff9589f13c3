"""From the queue of one model to its workers, in batches."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence

from soundleap.server.errors import ApiError
from soundleap.server.fair import FairQueue
from soundleap.server.metrics import Metrics
from soundleap.server.settings import ServerSettings
from soundleap.server.work import Work, can_share
from soundleap.server.worker import WorkerOptions
from soundleap.server.workers import Batch, Worker

MAX_STARTS = 5
"""How often in a row a worker may die while it loads before its model counts as failed."""
MAX_PAUSE_IN_S = 30.0
USUAL_SECONDS = 1.0
"""Guess of the time that a sound takes, until one was made."""

logger = logging.getLogger("soundleap.server")


class Dispatcher:
    """One model's queue and workers.

    Attributes:
        model: the model's id.
        queue: works that wait.
        workers: those that make them.
    """

    def __init__(
        self,
        model: str,
        options: WorkerOptions,
        settings: ServerSettings,
        metrics: Metrics,
        changed: Callable[[], None],
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            model: the model's id.
            options: how a worker loads it.
            settings: the server's.
            metrics: what is counted.
            changed: called when places in the queue change.
        """
        self.model = model
        self.settings = settings
        self.metrics = metrics
        self.queue: FairQueue[Work] = FairQueue()
        self.workers = [
            Worker(options, settings.worker_kind, self._wake_up) for _ in range(settings.workers)
        ]
        self._changed = changed
        self._wake = asyncio.Event()
        self._running: set[Worker] = set()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._seconds = USUAL_SECONDS

    @property
    def failure(self) -> str | None:
        """Why no worker can load the model; None if one can or may."""
        failures = [worker.failure for worker in self.workers]
        return failures[0] if all(failures) else None

    @property
    def ready(self) -> int:
        """How many workers are ready or at work."""
        return sum(worker.ready for worker in self.workers)

    @property
    def running(self) -> int:
        """How many workers are at work."""
        return len(self._running)

    def start(self) -> None:
        """Start the workers."""
        self._tasks = [asyncio.create_task(self._serve(worker)) for worker in self.workers]

    def submit(self, works: Sequence[Work], *, patient: bool) -> None:
        """Queue works of one client.

        Args:
            works: all are queued, or none.
            patient: they may wait for ever, as those of jobs do.

        Raises:
            ApiError: if there is no room for them, or the server is stopping.
        """
        if self._stopping:
            raise stopping()
        client = works[0].client
        own = tries_of(work for work in self.queue if work.client == client)
        room = min(
            self.settings.max_queue - tries_of(self.queue),
            self.settings.max_queue_per_client - own,
        )
        if tries_of(works) > room:
            message = (
                f"{tries_of(self.queue)} sounds are waiting, {own} of them yours; "
                f"there is room for {max(0, room)}, asked for {tries_of(works)}: try again later"
            )
            raise ApiError(429, "queue_full", message, retry_after=self.wait_in_s)
        loop = asyncio.get_running_loop()
        for work in works:
            self.queue.push(client, work)
            work.future.add_done_callback(lambda _, work=work: self._forget(work))
            if not patient:
                timer = loop.call_later(self.settings.queue_timeout_in_s, self._expire, work)
                work.future.add_done_callback(lambda _, timer=timer: timer.cancel())
        self._wake_up()

    @property
    def wait_in_s(self) -> float:
        """Estimated seconds until a sound that is asked for now would be begun."""
        return math.ceil(len(self.queue) * self._seconds / max(1, self.ready))

    async def stop(self, timeout_in_s: float) -> None:
        """Answer what waits with an error, let what runs be finished, and end the workers.

        Args:
            timeout_in_s: after this time what still runs is given up.
        """
        self._stopping = True
        for work in self.queue.clear():
            work.fail(stopping())
        self._wake_up()
        end = time.monotonic() + timeout_in_s
        while self._running and time.monotonic() < end:
            await asyncio.sleep(0.02)
        for worker in list(self._running):
            worker.kill(stopping())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self.workers))

    async def _serve(self, worker: Worker) -> None:
        """Start a worker, keep it at work, and start it anew when it dies."""
        deaths = 0
        while not self._stopping:
            worker.start()
            await self._until(lambda: worker.ready or not worker.alive or bool(worker.failure))
            if worker.ready:
                deaths = 0
            while worker.ready and not self._stopping:
                works = await self._next(worker)
                if works:
                    await self._make(worker, works)
            if self._stopping:
                return
            await worker.bury()
            deaths += 1
            if worker.failure is None and deaths >= MAX_STARTS:
                worker.failure = f"the worker died {deaths} times in a row"
            if worker.failure is not None:
                self._give_up(worker.failure)
                return
            self.metrics.restarts.add(self.model)
            self.metrics.errors.add("worker_died")
            logger.error(
                "a worker has died; it is started anew",
                extra={"event": "worker_died", "model": self.model},
            )
            await asyncio.sleep(min(MAX_PAUSE_IN_S, 0.5 * 2.0 ** (deaths - 1)) if deaths > 1 else 0)

    async def _next(self, worker: Worker) -> list[Work]:
        """Wait for works; empty if the worker has died or the server stops."""
        assert worker.facts is not None
        most = int(worker.facts["max_batch_size"])
        await self._until(lambda: bool(len(self.queue)) or not worker.ready or self._stopping)
        if len(self.queue) < most:
            await asyncio.sleep(self.settings.batch_window_in_s)
        if not worker.ready:
            return []
        return self.queue.take(most, can_share)

    async def _make(self, worker: Worker, works: list[Work]) -> None:
        self._running.add(worker)
        start = time.monotonic()
        try:
            batch = await worker.make(works, self.settings.timeout_in_s)
            self._seconds += 0.2 * ((time.monotonic() - start) / len(works) - self._seconds)
            self._count(batch)
        except Exception as error:  # a fault of ours must not end the loop that serves all others
            logger.exception("a batch failed", extra={"event": "internal"})
            worker.kill(ApiError(500, "internal", f"the server failed: {type(error).__name__}"))
        finally:
            self._running.discard(worker)
            self._changed()

    def _count(self, batch: Batch) -> None:
        for work in batch.works:
            self.metrics.stages.observe(work.waited_in_s, self.model, "queue")
        for size, seconds in batch.spent:
            self.metrics.batches.observe(size, self.model)
            for stage, value in seconds.items():
                self.metrics.stages.observe(value, self.model, stage)
        length = sum(
            work.sample.duration_in_s
            for work in batch.works
            if work.future.done() and not work.future.cancelled() and not work.future.exception()
        )
        if length:
            work_in_s = sum(sum(seconds.values()) for _, seconds in batch.spent)
            self.metrics.factor.observe(work_in_s / length, self.model)
            self.metrics.audio.add(self.model, amount=length)

    def _forget(self, work: Work) -> None:
        """Take a work that was cancelled or answered out of the queue."""
        if work.begun is None and self.queue.remove(work.client, work):
            self._changed()

    def _expire(self, work: Work) -> None:
        if work.begun is None:
            limit = self.settings.queue_timeout_in_s
            message = f"it waited longer than the limit of {limit:g} s; try again later"
            work.fail(ApiError(503, "waited_too_long", message, retry_after=self.wait_in_s))

    def _give_up(self, failure: str) -> None:
        logger.error(
            f"model {self.model} can't be served: {failure}",
            extra={"event": "model_failed", "model": self.model},
        )
        if self.failure is not None:
            for work in self.queue.clear():
                work.fail(model_failed(self.model))
        self._changed()

    def _wake_up(self) -> None:
        self._wake.set()
        self._changed()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._wake.clear()
            await self._wake.wait()


def tries_of(works: Iterable[Work]) -> int:
    """Count the sounds that are made for works, all tries included."""
    return sum(work.best_of for work in works)


def stopping() -> ApiError:
    """Make the error for what can't be made because the server ends."""
    return ApiError(503, "stopping", "the server is stopping; try again later", retry_after=10)


def model_failed(model: str) -> ApiError:
    """Make the error for a model that can't be loaded."""
    return ApiError(503, "model_failed", f"model {model!r} could not be loaded; see /health")
