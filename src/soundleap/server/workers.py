"""The server's side of a worker: start it, give it batches, notice its end, start it anew."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from soundleap.errors import InputError
from soundleap.server import worker
from soundleap.server.errors import ApiError
from soundleap.server.settings import WorkerKind
from soundleap.server.work import Work
from soundleap.server.worker import Made, WorkerOptions

GRACE_IN_S = 10.0
"""How long a worker may take to notice that its batch is not wanted any more."""

logger = logging.getLogger("soundleap.server")


@dataclass
class Batch:
    """Works that a worker has at once.

    Attributes:
        number: tells messages about it from those about earlier ones.
        works: in the order of the worker's rows.
        ended: set when the worker has answered for all, or has died.
        answered: how many of the works the worker is done with.
        spent: for every group made at once its size and the seconds in each stage.
    """

    number: int
    works: Sequence[Work]
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    answered: int = 0
    spent: list[tuple[int, dict[str, float]]] = field(
        default_factory=list[tuple[int, dict[str, float]]]
    )

    def fail(self, error: ApiError) -> None:
        """Answer every work that is still open with an error, and end."""
        for work in self.works:
            work.fail(error)
        self.ended.set()


class Worker:
    """A worker process or thread; lives through several of them if they die.

    All methods are called in the event loop's thread.

    Attributes:
        facts: what the worker says of itself; None until it is ready.
        failure: why the model can't be loaded; None if it can.
        alive: whether there is a process or thread.
    """

    def __init__(
        self, options: WorkerOptions, kind: WorkerKind, changed: Callable[[], None]
    ) -> None:
        """Prepare; `start` starts it.

        Args:
            options: how it loads its model.
            kind: a process or a thread.
            changed: called when it is ready, has failed or has died.
        """
        self.options = options
        self.kind = kind
        self.facts: dict[str, Any] | None = None
        self.failure: str | None = None
        self.alive = False
        self._changed = changed
        self._pipe: Connection | None = None
        self._process: BaseProcess | None = None
        self._batch: Batch | None = None
        self._numbers = 0

    @property
    def ready(self) -> bool:
        """Whether it can take a batch."""
        return self.alive and self.facts is not None

    def start(self) -> None:
        """Start a process or thread, which then loads the model."""
        ours, theirs = multiprocessing.Pipe()
        arguments = (theirs, self.options)
        if self.kind == "thread":
            threading.Thread(target=worker.run, args=arguments, daemon=True).start()
        else:
            context = multiprocessing.get_context("spawn")
            self._process = context.Process(target=worker.run_process, args=arguments, daemon=True)
            self._process.start()
            theirs.close()
        self._pipe, self.alive, self.facts = ours, True, None
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(ours, loop), daemon=True).start()

    async def make(self, works: Sequence[Work], timeout_in_s: float) -> Batch:
        """Have works made; each is answered when this returns, with a sound or an error."""
        self._numbers += 1
        batch = self._batch = Batch(self._numbers, works)
        for work in works:
            work.begin()
            work.future.add_done_callback(lambda _: self._cancel_if_unwanted(batch))
        asked = [(work.sample, work.best_of) for work in works]
        self._tell("make", batch.number, asked)
        try:
            async with asyncio.timeout(timeout_in_s):
                await batch.ended.wait()
        except TimeoutError:
            late = f"making it took longer than the limit of {timeout_in_s:g} s"
            for work in works:
                work.fail(ApiError(504, "took_too_long", late))
        await self._come_to_an_end(batch)
        self._batch = None
        return batch

    async def _come_to_an_end(self, batch: Batch) -> None:
        """Wait until the worker is free; one that does not listen is ended."""
        try:
            async with asyncio.timeout(GRACE_IN_S):
                await batch.ended.wait()
        except TimeoutError:
            logger.error("a worker does not answer; it is ended", extra={"event": "worker_stuck"})
            self.kill()

    def kill(self, error: ApiError | None = None) -> None:
        """Give it up at once; its works are answered with an error.

        A thread can't be ended from outside: it is left to itself, and ends when it looks up.
        """
        if self._batch is not None and error is not None:
            self._batch.fail(error)
        pipe = self._pipe
        self._tell("stop")
        self.end()
        if pipe is not None:
            self._lost(pipe)

    def end(self) -> None:
        """End the process, where there is one, and tell nobody."""
        if self._process is not None and self._process.is_alive():
            self._process.kill()

    async def stop(self) -> None:
        """End it when nothing runs, and make sure of it."""
        self._tell("stop")
        self.alive = False
        await self.bury()

    async def bury(self) -> None:
        """Wait for the end of a process that was told to stop or has died."""
        process, self._process = self._process, None
        if process is None:
            return
        await asyncio.to_thread(process.join, 2.0)
        if process.is_alive():
            process.kill()
            await asyncio.to_thread(process.join)
        process.close()

    def _tell(self, *message: object) -> None:
        if self._pipe is None or not self.alive:
            return
        try:
            self._pipe.send(message)
        except OSError:
            self._lost(self._pipe)

    def _cancel_if_unwanted(self, batch: Batch) -> None:
        wanted = not all(work.future.done() for work in batch.works)
        if self._batch is batch and not wanted and batch.answered < len(batch.works):
            self._tell("cancel", batch.number)

    def _listen(self, pipe: Connection, loop: asyncio.AbstractEventLoop) -> None:
        """Pass messages on to the event loop; runs in a thread until the other end is closed."""
        try:
            with pipe:  # closed here only: another thread could hit a file opened since
                while True:
                    message = pipe.recv()
                    loop.call_soon_threadsafe(self._hear, pipe, message)
        except (EOFError, OSError):
            pass
        except RuntimeError:  # the loop is closed: the server has ended
            return
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._lost, pipe)

    def _hear(self, pipe: Connection, message: tuple[Any, ...]) -> None:
        if pipe is not self._pipe:
            return
        batch, name = self._batch, message[0]
        if name == "ready":
            self.facts = message[1]
            self._changed()
        elif name == "failed":
            self.failure = message[1]
            self._changed()
        elif batch is None:
            return
        elif name == "end":
            if message[1] == batch.number:
                batch.ended.set()
        elif name == "step":
            for row in message[1]:
                batch.works[row].steps_done(message[2])
        elif name == "spent":
            batch.spent.append((message[1], message[2]))
        elif name == "sound":
            made: Made = message[2]
            batch.answered += 1
            batch.works[message[1]].finish(made)
        else:
            batch.answered += 1
            batch.works[message[1]].fail(_fault(message[2], message[3]))

    def _lost(self, pipe: Connection) -> None:
        """Note the end of the process or thread behind a pipe."""
        if pipe is not self._pipe or not self.alive:
            return
        self.alive, self.facts = False, None
        if self._batch is not None:
            died = "the worker that made this sound has died; it is being started anew"
            self._batch.fail(ApiError(503, "worker_died", died, retry_after=5))
        self._changed()


def _fault(kind: worker.FaultKind, message: str) -> ApiError | InputError:
    if kind == "invalid_value":
        return InputError(message)
    if kind == "internal":
        logger.error("a sound could not be made", extra={"event": "internal", "trace": message})
        return ApiError(500, "internal", "the sound could not be made; the server's log says why")
    return ApiError(500, kind, message)
