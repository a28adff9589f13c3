"""What `soundleap bench` measured: a record for JSON and a table."""

from __future__ import annotations

import os
import secrets
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from soundleap.bundle_schema import NetworkName, Strict
from soundleap.errors import InputError

STAGES = ("load", "text", "network", "codec", "vocoder", "total")
"""Stages of one call; load is 0 once a model is loaded, unless memory is kept low; total also holds
what lies between them."""

_BYTES_IN_A_MEGABYTE = 1e6


class Spread(Strict):
    """Median and spread of repeated measurements; quartiles are interpolated linearly."""

    median: float
    min: float
    lower_quartile: float
    upper_quartile: float
    max: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise values.

        Raises:
            InputError: if there are none.
        """
        if not values:
            raise InputError("no measurements to summarise; measure at least once")
        lower, middle, upper = (
            statistics.quantiles(values, n=4, method="inclusive")
            if len(values) > 1
            else [values[0]] * 3
        )
        return cls(
            median=middle,
            min=min(values),
            lower_quartile=lower,
            upper_quartile=upper,
            max=max(values),
            runs=len(values),
        )


class Case(Strict):
    """One way of asking a loaded model, run several times.

    Attributes:
        network: which network.
        num_inference_steps: its queries or solver steps.
        batch_size: sounds made at once.
        duration_in_s: length of each sound.
        seconds: wall clock of each of `STAGES`, for the whole batch.
        cpu_seconds: processor time of the whole process, all cores together.
        real_time_factor: total seconds for each second of sound; below 1 is faster than real time.
        peak_rss_in_bytes: largest resident memory of the process; None where it can't be measured.
        peak_rss_scope: "case" if the peak is this case's own (what was loaded before included), or
            "process" if it is the largest so far.
        peak_cuda_in_bytes: largest memory that tensors took on the CUDA device; None without one.
    """

    network: NetworkName
    num_inference_steps: int
    batch_size: int
    duration_in_s: float
    seconds: dict[str, Spread]
    cpu_seconds: Spread
    real_time_factor: Spread
    peak_rss_in_bytes: int | None
    peak_rss_scope: Literal["case", "process"]
    peak_cuda_in_bytes: int | None


class ColdStart(Strict):
    """The whole `soundleap generate` command in new processes, files in the disk cache.

    Attributes:
        network: which network.
        num_inference_steps: its queries or solver steps.
        duration_in_s: length of the sound.
        command_in_s: from starting the process to its end, the file written.
        import_in_s: importing what the command needs, in a new process, its start not counted.
    """

    network: NetworkName
    num_inference_steps: int
    duration_in_s: float
    command_in_s: Spread
    import_in_s: Spread


class Machine(Strict):
    """Where something was measured.

    Attributes:
        cpu: name of the processor.
        cores: logical cores of the machine.
        usable_cores: those this process may use.
        memory_in_bytes: of the machine; None where the system does not tell.
        load_before: processes that wanted to run in the minute before; above 0 something else was
            at work. None where the system does not tell.
        platform: operating system and architecture.
        python: version.
        torch: version.
        threads: that torch uses inside an operation.
        device: "cpu", "cuda", ...
        device_name: name of the accelerator; None on the CPU.
    """

    cpu: str
    cores: int
    usable_cores: int
    memory_in_bytes: int | None
    load_before: float | None
    platform: str
    python: str
    torch: str
    threads: int
    device: str
    device_name: str | None


class BenchReport(Strict):
    """Everything that one call of `soundleap bench` found."""

    format_version: Literal[1] = 1
    soundleap_version: str
    model: str
    model_version: str
    model_fingerprint: str
    runs: int
    machine: Machine
    cases: list[Case]
    cold_start: ColdStart | None

    def to_table(self) -> str:
        """Lay the report out for a terminal of 80 columns."""
        what = f"model {self.model} {self.model_version}"
        lines = [
            *header(self.soundleap_version, what, self.machine),
            "",
            row("", "median", "min", "quartiles", "", "max"),
        ]
        for case in self.cases:
            lines += _case_rows(case)
        if self.cold_start is not None:
            lines += _cold_rows(self.cold_start)
        return "\n".join(line.rstrip() for line in lines)

    def write(self, path: Path) -> None:
        """Write JSON by atomic rename; folders are made."""
        write_json(path, self)


def header(soundleap_version: str, what: str, machine: Machine) -> list[str]:
    """Say in three lines what was measured where."""
    where = " ".join(filter(None, (machine.device, machine.device_name)))
    load = "unknown" if machine.load_before is None else f"{machine.load_before:.1f}"
    return [
        f"soundleap {soundleap_version}, {what}",
        f"{machine.cpu}, {machine.usable_cores} of {machine.cores} cores, {machine.platform}",
        f"torch {machine.torch}, threads {machine.threads}, device {where}, load before {load}",
    ]


def write_json(path: Path, report: Strict) -> None:
    """Write a report by atomic rename; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _case_rows(case: Case) -> Iterable[str]:
    count = f"{case.batch_size} x {case.duration_in_s:g} s"
    yield f"{case.network}, steps {case.num_inference_steps}, {count}"
    for stage in STAGES:
        yield _spread_row(f"{stage}, s", case.seconds[stage])
    yield _spread_row("processor time, s", case.cpu_seconds)
    yield _spread_row("real-time factor", case.real_time_factor)
    if case.peak_rss_in_bytes is not None:
        scope = "" if case.peak_rss_scope == "case" else ", so far"
        yield row(f"peak memory{scope}, MB", _megabytes(case.peak_rss_in_bytes))
    if case.peak_cuda_in_bytes is not None:
        yield row("peak CUDA memory, MB", _megabytes(case.peak_cuda_in_bytes))


def _cold_rows(cold: ColdStart) -> Iterable[str]:
    steps = f"steps {cold.num_inference_steps}, 1 x {cold.duration_in_s:g} s"
    yield f"`soundleap generate` in a new process: {cold.network}, {steps}"
    yield _spread_row("command, s", cold.command_in_s)
    yield _spread_row("imports alone, s", cold.import_in_s)


def _spread_row(name: str, spread: Spread) -> str:
    values = (
        spread.median,
        spread.min,
        spread.lower_quartile,
        spread.upper_quartile,
        spread.max,
    )
    return row(name, *(f"{value:.4f}" for value in values))


def row(name: str, *cells: str) -> str:
    """Lay out one row of a table."""
    return f"  {name:<26}" + "".join(f"{cell:>10}" for cell in cells)


def _megabytes(count: int) -> str:
    return f"{count / _BYTES_IN_A_MEGABYTE:.0f}"
