"""How far a run is: its pace, the time left, and the bar that shows both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

SHOWN = ("loss", "skipped")
"""Scalars in the bar."""


@dataclass(frozen=True)
class TimeLeft:
    """Seconds that are still to come.

    Attributes:
        to_end: until all iterations are done, at the mean pace of this process; None before its
            first.
        to_stop: until ``max_minutes`` stop this process, where that comes before the end.
    """

    to_end: float | None
    to_stop: float | None

    def __str__(self) -> str:
        """Say it in words."""
        end = "? left" if self.to_end is None else f"{duration(self.to_end)} left"
        return end if self.to_stop is None else f"{end}, stops in {duration(self.to_stop)}"


class Pace:
    """Measures the iterations of this process; those from before a resume took no time of it."""

    def __init__(
        self,
        iterations: int,
        first: int,
        max_minutes: float | None,
        clock: Callable[[], float],
    ):
        """Start measuring.

        Args:
            iterations: of the whole run.
            first: those done before this process.
            max_minutes: after which this process stops.
            clock: gives seconds.
        """
        self.iterations, self.first, self.iteration = iterations, first, first
        self._max_seconds = None if max_minutes is None else 60.0 * max_minutes
        self._clock, self._started = clock, clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the start of this process."""
        return self._clock() - self._started

    @property
    def seconds_each(self) -> float | None:
        """Mean seconds an iteration, snapshots and checkpoints counted."""
        done = self.iteration - self.first
        return self.elapsed / done if done > 0 else None

    def left(self) -> TimeLeft:
        """Return how long it will still take."""
        each = self.seconds_each
        to_end = None if each is None else each * max(0, self.iterations - self.iteration)
        if self._max_seconds is None:
            return TimeLeft(to_end, None)
        to_stop = max(0.0, self._max_seconds - self.elapsed)
        return TimeLeft(to_end, None if to_end is not None and to_end <= to_stop else to_stop)


class _LeftBar(tqdm):  # pyright: ignore[reportMissingTypeArgument]
    """A bar whose time left is a `Pace`'s."""

    pace: Pace | None = None

    @property
    def format_dict(self) -> dict[str, Any]:
        """Add the time left to what the bar can show."""
        left = "" if self.pace is None else str(self.pace.left())
        return {**super().format_dict, "left": left}


class Bar:
    """The progress bar of a run."""

    def __init__(self, pace: Pace, *, shown: bool):
        self.pace = pace
        self._bar = _LeftBar(
            total=pace.iterations,
            initial=pace.first,
            disable=not shown,
            unit="it",
            smoothing=0.0,
            bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} "
            "[{elapsed}, {left}, {rate_fmt}{postfix}]",
        )
        self._bar.pace = pace

    def step(self, iteration: int) -> None:
        """Move on."""
        self.pace.iteration = iteration
        self._bar.update(iteration - self._bar.n)

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        """Show the loss, and how many steps were skipped if any were."""
        shown = {name: f"{values[name]:.4g}" for name in SHOWN if values.get(name)}
        self._bar.set_postfix(shown, refresh=False)

    def snapshot(self, iteration: int) -> None:
        """Nothing to show."""

    def end(self, iteration: int, *, finished: bool) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def duration(seconds: float) -> str:
    """Return ``"2 d 3 h"``, ``"3 h 20 min"``, ``"20 min"`` or ``"40 s"``."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 60:
        return f"{round(seconds)} s"
    if minutes < 60:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"
