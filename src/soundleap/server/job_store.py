"""The jobs of a server: those that run, and finished ones for a time and up to a size."""

from __future__ import annotations

import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence

from soundleap.server.errors import ApiError
from soundleap.server.jobs import Job, Take, follow
from soundleap.server.settings import ServerSettings
from soundleap.server.work import Work

MAX_JOBS = 2000
"""Most jobs that are remembered, finished ones included."""
MAX_GONE = 10_000
"""Most ids of dropped jobs that are remembered, to answer 410 and not 404."""


class Jobs:
    """The jobs of a server: those that run, and finished ones for a time and up to a size."""

    def __init__(self, settings: ServerSettings) -> None:
        """Start with none."""
        self.settings = settings
        self._jobs: dict[str, Job] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()

    def add(
        self, owner: str, model: str, works: Sequence[Work], place: Callable[[Work], int]
    ) -> Job:
        """Make a job of queued works."""
        job_id = f"job_{secrets.token_urlsafe(16)}"
        takes = [Take(number, work) for number, work in enumerate(works, 1)]
        job = Job(job_id, owner, model, takes, place)
        for take in takes:
            follow(job, take)
        self._jobs[job_id] = job
        job.update_position()
        return job

    def get(self, id: str, owner: str | None = None) -> Job:
        """Find a job.

        Args:
            id: the job's.
            owner: whose it must be; None for anybody's.

        Raises:
            ApiError: if it is unknown, another's, or gone.
        """
        job = self._jobs.get(id)
        if job is not None and owner in (None, job.owner):
            return job
        if id in self._gone:
            kept = self.settings.results_kept_in_s
            raise ApiError(410, "gone", f"this job was dropped; results are kept for {kept:g} s, "
                           "and less long if there are many")  # fmt: skip
        raise ApiError(404, "not_found", "there is no such job")

    def drop(self, job: Job) -> None:
        """Forget a finished job and its sounds."""
        job.status = "deleted"
        for take in job.takes:
            take.work.on_begin = take.work.on_step = None  # else they hold each other in memory
        self._jobs.pop(job.id, None)
        self._gone[job.id] = None
        if len(self._gone) > MAX_GONE:
            self._gone.popitem(last=False)

    @property
    def room(self) -> bool:
        """Whether one more can be remembered."""
        self.sweep()
        return len(self._jobs) < MAX_JOBS

    @property
    def kept_bytes(self) -> int:
        """Bytes of sound that finished jobs hold."""
        return sum(job.bytes for job in self._jobs.values() if job.finished is not None)

    def counts(self) -> dict[tuple[str, ...], float]:
        """Give the number of jobs by status."""
        found = Counter(job.status for job in self._jobs.values())
        return {(status,): float(count) for status, count in found.items()}

    def sweep(self) -> None:
        """Drop finished jobs that are too old or, the oldest first, too many or too large."""
        finished = [job for job in self._jobs.values() if job.finished is not None]
        finished.sort(key=lambda job: job.finished or 0.0)
        too_old = time.time() - self.settings.results_kept_in_s
        kept, count = self.kept_bytes, len(self._jobs)
        for job in finished:
            old = (job.finished or 0.0) < too_old
            if old or kept > self.settings.results_kept_bytes or count >= MAX_JOBS:
                kept, count = kept - job.bytes, count - 1
                self.drop(job)

    def positions_changed(self) -> None:
        """Work out the positions of all jobs that wait."""
        for job in self._jobs.values():
            if job.finished is None:
                job.update_position()

    def stop(self) -> None:
        """Cancel every take that is not begun; those that run are finished."""
        stopped = ApiError(503, "stopping", "the server is stopping", retry_after=10)
        for job in list(self._jobs.values()):
            for take in job.takes:
                if take.work.begun is None:
                    take.work.fail(stopped)

    @property
    def last_finished(self) -> float | None:
        """When the last job that holds sounds was finished; None if there is none."""
        times = [job.finished for job in self._jobs.values() if job.finished and job.bytes]
        return max(times, default=None)
