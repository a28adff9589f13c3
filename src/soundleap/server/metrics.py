"""Counters, gauges and histograms in Prometheus' text form."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
FACTORS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

_Labels = tuple[str, ...]


class Counter:
    """A value by labels that only rises, or, as a gauge, is set."""

    kind = "counter"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        """Start with no value."""
        self.name, self.help, self.labels = name, help, tuple(labels)
        self._values: dict[_Labels, float] = {}

    def add(self, *labels: str, amount: float = 1.0) -> None:
        """Add to the value of these labels."""
        self._values[labels] = self._values.get(labels, 0.0) + amount

    def value(self, *labels: str) -> float:
        """Give the value of these labels."""
        return self._values.get(labels, 0.0)

    def lines(self) -> Iterator[str]:
        """Give the lines of the text form."""
        for labels, value in self._values.items():
            yield f"{self.name}{_pairs(self.labels, labels)} {_number(value)}"


class Gauge(Counter):
    """Values that are read when asked for.

    Args:
        read: gives the values by labels.
    """

    kind = "gauge"

    def __init__(
        self, name: str, help: str, labels: Sequence[str], read: Callable[[], dict[_Labels, float]]
    ) -> None:
        """Remember how to read."""
        super().__init__(name, help, labels)
        self._read = read

    def lines(self) -> Iterator[str]:
        """Read, and give the lines of the text form."""
        self._values = self._read()
        return super().lines()


class Histogram:
    """How often values fell below given bounds."""

    kind = "histogram"

    def __init__(
        self, name: str, help: str, bounds: Sequence[float], labels: Sequence[str] = ()
    ) -> None:
        """Start empty."""
        self.name, self.help, self.labels = name, help, tuple(labels)
        self.bounds = tuple(bounds)
        self._counts: dict[_Labels, list[int]] = {}
        self._sums: dict[_Labels, float] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Count a value."""
        counts = self._counts.setdefault(labels, [0] * (len(self.bounds) + 1))
        counts[bisect_left(self.bounds, value)] += 1
        self._sums[labels] = self._sums.get(labels, 0.0) + value

    def lines(self) -> Iterator[str]:
        """Give the lines of the text form."""
        names = (*self.labels, "le")
        for labels, counts in self._counts.items():
            total = 0
            for bound, count in zip((*map(_number, self.bounds), "+Inf"), counts, strict=True):
                total += count
                yield f"{self.name}_bucket{_pairs(names, (*labels, bound))} {total}"
            yield f"{self.name}_sum{_pairs(self.labels, labels)} {_number(self._sums[labels])}"
            yield f"{self.name}_count{_pairs(self.labels, labels)} {total}"


class Metrics:
    """What a server counts."""

    def __init__(self) -> None:
        """Start at zero."""
        self.requests = Counter(
            "soundleap_requests_total", "Answers by route and status.", ("route", "status")
        )
        self.errors = Counter("soundleap_errors_total", "Errors by kind.", ("kind",))
        self.stages = Histogram(
            "soundleap_stage_seconds",
            "Seconds in each stage: queue (a sound), text, network, codec (a batch), encode.",
            SECONDS,
            ("model", "stage"),
        )
        self.batches = Histogram("soundleap_batch_size", "Sounds made at once.", SIZES, ("model",))
        self.factor = Histogram(
            "soundleap_real_time_factor",
            "Seconds of work for a second of sound.",
            FACTORS,
            ("model",),
        )
        self.audio = Counter("soundleap_audio_seconds_total", "Seconds of sound made.", ("model",))
        self.restarts = Counter(
            "soundleap_worker_restarts_total", "Workers started anew after an end.", ("model",)
        )
        self._all: list[Counter | Histogram] = [
            self.requests, self.errors, self.stages, self.batches, self.factor, self.audio,
            self.restarts,
            Gauge("process_resident_memory_bytes", "Memory of this process.", (), _memory),
            Gauge("process_open_fds", "Open files of this process.", (), _open_files),
        ]  # fmt: skip

    def add(self, gauge: Gauge) -> None:
        """Show another gauge."""
        self._all.append(gauge)

    def text(self) -> str:
        """Give everything in Prometheus' text form (version 0.0.4)."""
        lines: list[str] = []
        for metric in self._all:
            lines += [
                f"# HELP {metric.name} {metric.help}",
                f"# TYPE {metric.name} {metric.kind}",
                *metric.lines(),
            ]
        return "\n".join(lines) + "\n"


def _pairs(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    escaped = (v.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for v in values)
    pairs = (f'{name}="{value}"' for name, value in zip(names, escaped, strict=True))
    return "{" + ",".join(pairs) + "}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _memory() -> dict[_Labels, float]:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # not Linux
        return {}
    return {(): pages * float(os.sysconf("SC_PAGE_SIZE"))}


def _open_files() -> dict[_Labels, float]:
    try:
        return {(): float(len(os.listdir("/proc/self/fd")))}
    except OSError:
        return {}
