"""What `soundleap bench distill` measured: a record for JSON and a table."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from soundleap.bench.distill_clock import STAGES
from soundleap.bench.distill_settings import CaseName, Precision
from soundleap.bench.report import Machine, Spread, header, row, write_json
from soundleap.bundle_schema import Strict

_GIB = 2**30


class Times(Strict):
    """Seconds by stage of `distill_clock.STAGES`.

    Attributes:
        wall: wall clock.
        cpu: processor time of the process, all cores together.
    """

    wall: dict[str, Spread]
    cpu: dict[str, Spread]


class DistillCase(Strict):
    """One iteration of one recipe.

    Attributes:
        name: the case.
        preset: whose objective, optimiser and averages it runs.
        parameters: of the student.
        batch_size: clips of ten seconds.
        dtype: "bfloat16" is mixed precision.
        checkpointing: whether the student's activations were computed twice.
        reduced: whether networks shared their weights, and AdamW and averages were measured apart.
        once_a_clip: latents and text states, which a cache holds: before training, not in it.
        iteration: one iteration.
        peak_rss_in_bytes: largest resident memory of the process of the iterations.
        stock: one iteration in the plain formulation, its text and latents included.
        stock_peak_rss_in_bytes: of the process that ran it, in turn with ours.
        ratio: stock's processor time over ours.
        networks_ratio: the same without latents and text on both sides.
    """

    name: CaseName
    preset: str
    parameters: int
    batch_size: int
    dtype: Precision
    checkpointing: bool
    reduced: bool
    once_a_clip: Times
    iteration: Times
    peak_rss_in_bytes: int | None
    stock: Times | None = None
    stock_peak_rss_in_bytes: int | None = None
    ratio: float | None = None
    networks_ratio: float | None = None


class DistillReport(Strict):
    """Everything that one call of `soundleap bench distill` found."""

    format_version: Literal[1] = 1
    soundleap_version: str
    iterations: int
    machine: Machine
    cases: list[DistillCase]

    def to_table(self) -> str:
        """Lay the report out for a terminal of 80 columns; processor seconds by thread."""
        lines = [*header(self.soundleap_version, "distillation", self.machine), ""]
        for case in self.cases:
            lines += _case_rows(case, max(1, self.machine.threads))
        return "\n".join(line.rstrip() for line in lines)

    def write(self, path: Path) -> None:
        """Write JSON by atomic rename; folders are made."""
        write_json(path, self)


def _case_rows(case: DistillCase, threads: int) -> list[str]:
    what = [f"batch {case.batch_size}", case.dtype]
    what += ["activations recomputed"] if case.checkpointing else []
    what += ["reduced"] if case.reduced else []
    lines = [
        f"{case.name}: {case.parameters / 1e6:.1f} M parameters, {', '.join(what)}",
        row("", "ours, wall", f"cpu/{threads}", *(["stock cpu"] if case.stock else [])),
    ]
    for stage in STAGES:
        times = case.once_a_clip if stage in ("encode", "text") else case.iteration
        label = f"{stage}, once a clip, s" if stage in ("encode", "text") else f"{stage}, s"
        cells = [_median(times.wall, stage), _median(times.cpu, stage, threads)]
        cells += [_median(case.stock.cpu, stage, threads)] if case.stock else []
        lines.append(row(label, *cells))
    if case.peak_rss_in_bytes is not None:
        peaks = [case.peak_rss_in_bytes, case.stock_peak_rss_in_bytes]
        cells = ["", *(f"{peak / _GIB:.2f}" for peak in peaks if peak is not None)]
        lines.append(row("peak memory, GiB" + (" (reduced)" if case.reduced else ""), *cells))
    if case.ratio is not None and case.networks_ratio is not None:
        lines.append(row("stock over ours", "", "", f"{case.ratio:.2f}"))
        lines.append(row("without latents and text", "", "", f"{case.networks_ratio:.2f}"))
    return lines


def _median(spreads: dict[str, Spread], stage: str, divisor: int = 1) -> str:
    return f"{spreads[stage].median / divisor:.4f}" if stage in spreads else "-"
