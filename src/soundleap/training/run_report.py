"""What a run tells while it goes: a bar with the time left, trackers, and a page in its folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from soundleap.training.progress import Bar, Pace
from soundleap.training.run_page import RunPage
from soundleap.training.settings import RunSettings
from soundleap.training.trackers import open_trackers

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """One of those that a run tells things."""

    def step(self, iteration: int) -> None:
        """Hear that so many iterations are done; called often, so it must be cheap."""
        ...

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        """Hear the scalars of a line of ``stats.jsonl``."""
        ...

    def snapshot(self, iteration: int) -> None:
        """Hear that the snapshot of an iteration is in the folder."""
        ...

    def end(self, iteration: int, *, finished: bool) -> None:
        """Hear the last word of this process."""
        ...


class RunReport:
    """Passes on what the loop says; a listener that fails is named in the log and left out.

    Of several processes the first alone makes one that listens (`main`), the others a mute one, so
    that the loop makes the same calls everywhere.
    """

    def __init__(
        self, settings: RunSettings, folder: Path, first: int, *, progress: bool, main: bool = True
    ):
        """Open everything that listens.

        Args:
            settings: of the run.
            folder: of the run.
            first: iterations done before this process.
            progress: whether to show the bar.
            main: whether this process reports at all.

        Raises:
            InputError: if the package of a tracker that is asked for is missing.
        """
        self._listeners: list[Listener] = []
        if not main:
            return
        pace = Pace(settings.iterations, first, settings.max_minutes, time.monotonic)
        trackers = open_trackers(settings, folder, first)
        self._listeners += [Bar(pace, shown=progress), RunPage(settings, folder, pace), *trackers]

    def step(self, iteration: int) -> None:
        """Say that so many iterations are done."""
        for listener in self._listeners:
            listener.step(iteration)

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        """Say the scalars that were just written to ``stats.jsonl``."""
        for listener in list(self._listeners):
            with self._guarded(listener):
                listener.scalars(iteration, values)

    def snapshot(self, iteration: int) -> None:
        """Say that the snapshot of an iteration is in the folder."""
        for listener in list(self._listeners):
            with self._guarded(listener):
                listener.snapshot(iteration)

    def end(self, iteration: int, *, finished: bool) -> None:
        """Say the last word; called once, also before an error leaves the loop."""
        for listener in list(self._listeners):
            with self._guarded(listener):
                listener.end(iteration, finished=finished)
        self._listeners.clear()

    @contextmanager
    def _guarded(self, listener: Listener) -> Generator[None]:
        """Let training go on where telling of it fails."""
        try:
            yield
        except Exception as error:
            logger.warning("%s failed and is left out from here on: %s", listener, error)
            self._listeners.remove(listener)
