"""The server's queue in front of replicas elsewhere, in place of worker processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from soundleap.errors import InputError
from soundleap.server.batching import Dispatcher
from soundleap.server.errors import ApiError
from soundleap.server.metrics import Metrics
from soundleap.server.models import ServedModel
from soundleap.server.settings import ServerSettings
from soundleap.server.work import Work
from soundleap.server.worker import WorkerOptions
from soundleap.server.workers import Batch, Worker

Answer = tuple[str, Any]
"""("sound", Made), or the code of an error and its message."""
RETRY_IN_S = 1.0

logger = logging.getLogger("soundleap.server")


class RemoteModel(ServedModel):
    """A model whose sounds are made by replicas."""

    def __init__(self, model: ServedModel, lanes: int, replicas: Any) -> None:
        """Take over the name of a model.

        Args:
            model: not started.
            lanes: most sounds that are handed over at once.
            replicas: ``replicas.make.remote(values)`` and ``replicas.facts.remote()`` can be
                awaited and cancelled, as those of a Ray Serve handle.

        Raises:
            InputError: if the model is not on this machine and must be fetched first.
        """
        if model.bundle is None:
            raise InputError(f"model {model.source!r} must be in a folder or known by name here")
        super().__init__(model.id, model.source, model.settings)
        self._lanes, self._replicas = lanes, replicas

    async def start(self, metrics: Metrics, changed: Callable[[], None]) -> None:
        """Begin to ask for the replicas."""
        assert self.bundle is not None
        options = WorkerOptions(folder=Path(self.bundle.folder))
        self.dispatcher = RemoteDispatcher(
            self.id, options, self.settings, metrics, changed, self._lanes, self._replicas
        )
        self.dispatcher.start()


class RemoteDispatcher(Dispatcher):
    """A dispatcher whose workers are lanes to replicas."""

    def __init__(
        self,
        model: str,
        options: WorkerOptions,
        settings: ServerSettings,
        metrics: Metrics,
        changed: Callable[[], None],
        lanes: int,
        replicas: Any,
    ) -> None:
        """Prepare; see `Dispatcher` and `RemoteModel`."""
        super().__init__(model, options, settings, metrics, changed)
        self._replicas = replicas
        self.workers: list[Worker] = [Lane(options, self._wake_up, replicas) for _ in range(lanes)]

    def start(self) -> None:
        """Start the lanes; they open when a replica has answered."""
        super().start()
        self._tasks.append(asyncio.create_task(self._wait_for_replica()))

    async def _wait_for_replica(self) -> None:
        facts = None
        while facts is None:
            try:
                facts = await self._replicas.facts.remote()
            except Exception as error:  # Ray starts replicas anew; /health says loading meanwhile
                logger.warning(
                    f"no replica answers yet ({type(error).__name__})",
                    extra={"event": "loading", "model": self.model},
                )
                await asyncio.sleep(RETRY_IN_S)
        for lane in self.workers:
            lane.facts = facts
        self._wake_up()


class Lane(Worker):
    """Stands for a worker: hands one sound at a time to the replicas."""

    def __init__(self, options: WorkerOptions, changed: Callable[[], None], replicas: Any) -> None:
        """Prepare; see `Worker` and `RemoteModel`."""
        super().__init__(options, "thread", changed)
        self._replicas = replicas

    def start(self) -> None:
        """Count as alive; it is ready when it has facts."""
        self.alive = True

    async def make(self, works: Sequence[Work], timeout_in_s: float) -> Batch:
        """Have a sound made; it is answered when this returns."""
        batch = Batch(0, works)
        for work in works:
            work.begin()
            response = self._replicas.make.remote(asdict(work.sample))
            answer = asyncio.ensure_future(_answer(response))
            await asyncio.wait(
                {answer, work.future}, timeout=timeout_in_s, return_when=asyncio.FIRST_COMPLETED
            )
            if answer.done():
                self._take(batch, work, answer)
                continue
            response.cancel()
            answer.cancel()
            late = f"making it took longer than the limit of {timeout_in_s:g} s"
            work.fail(ApiError(504, "took_too_long", late))
        return batch

    def end(self) -> None:
        """Do nothing: replicas belong to Ray."""

    async def stop(self) -> None:
        """Close the lane."""
        self.alive = False

    def _take(self, batch: Batch, work: Work, answer: asyncio.Future[Answer]) -> None:
        error = answer.exception()
        if error is not None:
            logger.error(
                "a replica has failed",
                extra={"event": "worker_died", "error": type(error).__name__},
            )
            died = "the replica that made this sound has failed; try again"
            work.fail(ApiError(503, "worker_died", died, retry_after=5))
            return
        kind, value = answer.result()
        if kind == "sound":
            batch.spent.append((1, value.seconds))
            work.finish(value)
        elif kind == "invalid_value":
            work.fail(InputError(value))
        elif kind == "internal":
            logger.error("a sound could not be made", extra={"event": "internal", "trace": value})
            told = "the sound could not be made; the server's log says why"
            work.fail(ApiError(500, "internal", told))
        else:
            work.fail(ApiError(500, kind, value))


async def _answer(response: Any) -> Answer:
    return await response
