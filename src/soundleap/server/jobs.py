"""Jobs: several takes of one request that are made while nobody holds a connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from soundleap.audio.loudness import active_rms
from soundleap.audio.names import FORMATS
from soundleap.errors import InputError
from soundleap.requests import Sample
from soundleap.server.errors import ApiError, from_input
from soundleap.server.work import Work
from soundleap.server.worker import Made

JobStatus = Literal["queued", "running", "done", "failed", "cancelled", "deleted"]
TakeStatus = Literal["queued", "running", "done", "failed", "cancelled"]

Event = tuple[str, dict[str, Any]]
"""Name and data of a server-sent event."""

SETTINGS = tuple(name for name in Sample.__dataclass_fields__ if name != "seed")
"""What all takes of a job share."""
_SILENCE = 1e-6


@dataclass
class Take:
    """One sound of a job.

    Attributes:
        number: from 1.
        work: what is queued for it.
        made: the sound; None until it is done.
        facts: length and levels of the sound.
        error: why there is none.
        status: where it is on its way.
    """

    number: int
    work: Work
    made: Made | None = None
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    error: ApiError | None = None
    status: TakeStatus = "queued"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in ("done", "failed", "cancelled")

    @property
    def seed(self) -> int:
        """Of the sound, or of its first try until it is made."""
        return int((self.made.metadata if self.made else {}).get("seed", self.work.sample.seed))

    def settle(self) -> None:
        """Read from its future how it ended."""
        future = self.work.future
        error = None if future.cancelled() else future.exception()
        if future.cancelled():
            self.status = "cancelled"
        elif error is None:
            self.status, self.made = "done", future.result()
            self.facts = _facts(self.made)
        else:
            self.error = _as_api_error(error)
            self.status = "cancelled" if self.error.code == "stopping" else "failed"

    def body(self, job_id: str) -> dict[str, Any]:
        """Give it as clients see it."""
        made = self.made
        address = f"/v1/jobs/{job_id}/audio/{self.number}"
        return {
            "number": self.number,
            "status": self.status,
            "seed": self.seed,
            "step": self.work.step,
            "steps": self.work.steps,
            **{name: self.facts.get(name) for name in _FACTS},
            "seconds": {"queue": self.work.waited_in_s, **made.seconds} if made else None,
            "metadata": made.metadata if made else None,
            "audio": {name: f"{address}.{name}" for name in FORMATS} if made else None,
            "error": self.error.body() if self.error else None,
        }


@dataclass(eq=False)
class Job:
    """Takes of one request.

    Attributes:
        id: can't be guessed.
        owner: the client whose job it is.
        model: the model's id.
        takes: its sounds, in the order of their seeds.
        place: gives how many sounds come before a work that waits.
        status: "deleted" once it is dropped.
        position: sounds that come before its next one; None when it is finished.
        listeners: queues of events.
    """

    id: str
    owner: str
    model: str
    takes: list[Take]
    place: Callable[[Work], int]
    status: JobStatus = "queued"
    position: int | None = None
    created: float = field(default_factory=time.time)
    started: float | None = None
    finished: float | None = None
    listeners: set[asyncio.Queue[Event]] = field(default_factory=set[asyncio.Queue[Event]])

    @property
    def bytes(self) -> int:
        """Bytes of sound that it holds."""
        return sum(take.made.waveform.nbytes for take in self.takes if take.made is not None)

    def take(self, number: int) -> Take:
        """Give a take by its number, from 1.

        Raises:
            ApiError: if there is none.
        """
        if not 1 <= number <= len(self.takes):
            raise ApiError(404, "not_found", f"this job has takes 1 to {len(self.takes)}")
        return self.takes[number - 1]

    def cancel(self) -> None:
        """Give up what is not made yet; finished takes are kept."""
        for take in self.takes:
            if not take.finished:
                take.work.future.cancel()
                self.settle(take)

    def begin(self, take: Take) -> None:
        """Note that a take is being made."""
        take.status, self.status = "running", "running"
        self.started = self.started or time.time()
        self.update_position()

    def step(self, take: Take, step: int) -> None:
        """Tell of a take's progress."""
        steps = take.work.steps
        self.tell("step", {"take": take.number, "step": step, "steps": steps})

    def settle(self, take: Take) -> None:
        """Note that a take has ended; the last one ends the job."""
        if take.finished or not take.work.future.done():
            return
        take.settle()
        self.tell("take", take.body(self.id))
        if all(other.finished for other in self.takes):
            self.status, self.finished, self.position = _status(self.takes), time.time(), None
            self.tell(self.status, {})

    def update_position(self) -> None:
        """Work the position out anew, and tell of a change."""
        if self.finished is not None:
            return
        waiting = [t.work for t in self.takes if t.status == "queued" and not t.work.future.done()]
        running = any(take.status == "running" for take in self.takes)
        position = 0 if running or not waiting else min(map(self.place, waiting))
        if position != self.position:
            self.position = position
            self.tell("queued", {"position": position})

    def tell(self, name: str, data: dict[str, Any]) -> None:
        """Send an event to all who listen."""
        for listener in self.listeners:
            listener.put_nowait((name, data))

    def body(self, results_kept_in_s: float) -> dict[str, Any]:
        """Give it as clients see it."""
        sample = self.takes[0].work.sample
        errors = [take.error for take in self.takes if take.error is not None]
        address = f"/v1/jobs/{self.id}"
        return {
            "id": self.id,
            "status": self.status,
            "model": self.model,
            "created": self.created,
            "started": self.started,
            "finished": self.finished,
            "expires": self.finished + results_kept_in_s if self.finished is not None else None,
            "position": self.position,
            "settings": {name: getattr(sample, name) for name in SETTINGS},
            "takes": [take.body(self.id) for take in self.takes],
            "error": errors[0].body() if errors else None,
            "links": {
                "self": address,
                "events": f"{address}/events",
                "archive": f"{address}/archive.zip",
            },
        }


def follow(job: Job, take: Take) -> None:
    """Have a job hear of what happens to one of its takes."""
    take.work.on_begin = lambda: job.begin(take)
    take.work.on_step = lambda step: job.step(take, step)
    take.work.future.add_done_callback(lambda _: job.settle(take))


_FACTS = ("sampling_rate", "samples", "duration_in_s", "peak", "loudness_dbfs")


def _facts(made: Made) -> dict[str, Any]:
    """Measure length and levels; the loudness is the active level, None for silence."""
    samples, rate = made.waveform.shape[-1], made.sampling_rate
    rms = active_rms(made.waveform[0], block=rate // 20)
    values = (
        rate,
        samples,
        samples / rate,
        float(np.abs(made.waveform).max()),
        20.0 * float(np.log10(rms)) if rms > _SILENCE else None,
    )
    return dict(zip(_FACTS, values, strict=True))


def _status(takes: Sequence[Take]) -> JobStatus:
    found = {take.status for take in takes}
    order: tuple[JobStatus, ...] = ("cancelled", "failed", "done")
    return next(status for status in order if status in found)


def _as_api_error(error: BaseException) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, InputError):
        return from_input(error, {})
    return ApiError(500, "internal", "the sound could not be made; the server's log says why")
