"""What an iteration of distillation costs: every measurement in a process of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from soundleap._version import __version__
from soundleap.bench.distill_clock import STAGES
from soundleap.bench.distill_report import DistillCase, DistillReport, Times
from soundleap.bench.distill_settings import PRESETS, CaseName, DistillBenchSettings
from soundleap.bench.process import run_python
from soundleap.bench.report import Spread

Told = Callable[[str], None]


def run_distill_bench(settings: DistillBenchSettings, told: Told = lambda _: None) -> DistillReport:
    """Measure the cases one after another.

    Args:
        settings: what to measure.
        told: called with a line before every measurement.

    Raises:
        SoundleapError: if a process fails, with its last line.
    """
    import torch

    from soundleap.bench.machine import describe_machine, use_threads

    with use_threads(settings.threads):
        machine = describe_machine(torch.device("cpu"))
    return DistillReport(
        soundleap_version=__version__,
        iterations=settings.iterations,
        machine=machine,
        cases=[measure(case, settings, told) for case in settings.cases],
    )


def measure(case: CaseName, settings: DistillBenchSettings, told: Told) -> DistillCase:
    """Measure one case.

    Raises:
        SoundleapError: if a process fails, with its last line.
    """
    prepared = _work("prepare", case, settings, told)
    iterated = _work("iterate", case, settings, told)
    optimised = _work("optimise", case, settings, told) if settings.reduced else None
    compared = None
    if settings.has_stock(case):
        compared = _work("compare", case, settings, told)
    result = DistillCase(
        name=case,
        preset=PRESETS[case],
        parameters=iterated["parameters"],
        batch_size=settings.batch_size,
        dtype=settings.dtype,
        checkpointing=settings.checkpointing,
        reduced=settings.reduced,
        once_a_clip=_times(prepared, "ours"),
        iteration=_times(iterated, "ours", optimised),
        peak_rss_in_bytes=iterated["peak"],
    )
    if compared is None:
        return result
    return _with_stock(result, prepared, compared, optimised)


def _with_stock(
    result: DistillCase,
    prepared: dict[str, Any],
    compared: dict[str, Any],
    optimised: dict[str, Any] | None,
) -> DistillCase:
    ours, stock = (_times(compared, name, optimised) for name in ("ours", "stock"))
    early = _times(prepared, "stock")
    before = sum(spread.median for spread in early.cpu.values())
    whole = {kind: {**getattr(early, kind), **getattr(stock, kind)} for kind in ("cpu", "wall")}
    total, own = stock.cpu["total"].median, ours.cpu["total"].median
    return result.model_copy(
        update={
            "stock": Times(**whole),
            "stock_peak_rss_in_bytes": compared["peak"],
            "ratio": (total + before) / own,
            "networks_ratio": total / own,
        }
    )


def _times(found: dict[str, Any], name: str, optimised: dict[str, Any] | None = None) -> Times:
    """Summarise the clocks of one side; what was measured apart is added to the total."""
    kinds: dict[str, dict[str, Spread]] = {}
    for kind in ("wall", "cpu"):
        clocks: list[dict[str, float]] = found[name][kind]
        if optimised is not None:
            clocks = [_added(*pair) for pair in zip(clocks, optimised[name][kind], strict=True)]
        kinds[kind] = {
            stage: Spread.of([clock.get(stage, 0.0) for clock in clocks])
            for stage in STAGES
            if any(stage in clock for clock in clocks)
        }
    return Times(**kinds)


def _added(clock: dict[str, float], apart: dict[str, float]) -> dict[str, float]:
    return {**clock, **apart, "total": clock["total"] + sum(apart.values())}


def _work(task: str, case: CaseName, settings: DistillBenchSettings, told: Told) -> dict[str, Any]:
    """Do one task in a new process.

    Raises:
        SoundleapError: if it fails, with its last line.
    """
    told(f"{case}: {task}")
    printed = run_python(
        ["-m", "soundleap.bench.distill_worker", task, case, json.dumps(asdict(settings))],
        _environment(settings.threads),
        f"{task} of {case}",
    )
    return json.loads(printed.splitlines()[-1])


def _environment(threads: int | None) -> dict[str, str]:
    """Give the allocator of training, and threads that sleep while they wait."""
    from soundleap.training.memory import wanted_environment

    environment = wanted_environment(os.environ, sys.platform) or dict(os.environ)
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    return environment
