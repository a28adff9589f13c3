"""One sound that somebody waits for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from soundleap.errors import InputError
from soundleap.requests import Sample
from soundleap.server.errors import ApiError
from soundleap.server.worker import Made

LIKE_LENGTH = 1.5
"""Sounds share a batch if the longer one is at most this much longer than the other."""


@dataclass(eq=False)
class Work:
    """A checked sample on its way through queue and worker.

    Attributes:
        client: who asked; clients are served in turn.
        sample: what to make.
        future: gives the sound, `ApiError`, `InputError`, or is cancelled.
        on_begin: called when the work is begun.
        on_step: called with the number of queries done.
        step: queries done.
        best_of: tries, of which the one that fits best is given.
        queued: when it was asked for, on the monotonic clock.
        begun: when it was begun; None while it waits.
    """

    client: str
    sample: Sample
    future: asyncio.Future[Made]
    on_begin: Callable[[], None] | None = None
    on_step: Callable[[int], None] | None = None
    step: int = 0
    best_of: int = 1
    queued: float = field(default_factory=time.monotonic)
    begun: float | None = None

    @property
    def steps(self) -> int:
        """Queries of all tries."""
        return self.best_of * self.sample.num_inference_steps

    @property
    def waited_in_s(self) -> float:
        """Seconds between being asked for and begun, or so far."""
        return (self.begun or time.monotonic()) - self.queued

    def begin(self) -> None:
        """Note that a worker has it."""
        self.begun = time.monotonic()
        if self.on_begin is not None:
            self.on_begin()

    def steps_done(self, step: int) -> None:
        """Note progress."""
        self.step = step
        if self.on_step is not None and not self.future.done():
            self.on_step(step)

    def finish(self, made: Made) -> None:
        """Give the sound; nobody may be waiting any more."""
        if not self.future.done():
            self.future.set_result(made)

    def fail(self, error: ApiError | InputError) -> None:
        """Give an error; nobody may be waiting any more."""
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # it is read where somebody waits; else there is no one to tell


def can_share(first: Work, other: Work) -> bool:
    """Tell whether two works may be made at once.

    What the published systems' scripts do (`compat`) can depend on the batch, so that it is made
    alone.
    """
    a, b = first.sample, other.sample
    if a.compat or b.compat:
        return False
    lengths = sorted((a.duration_in_s, b.duration_in_s))
    return _way(a) == _way(b) and lengths[1] <= LIKE_LENGTH * lengths[0]


def _way(sample: Sample) -> tuple[object, ...]:
    return (
        sample.network,
        sample.num_inference_steps,
        bool(sample.negative_prompt),
        sample.guidance_scale_post > 1,
        sample.solver,
    )
