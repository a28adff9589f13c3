"""``python -m soundleap.bench.distill_worker TASK CASE SETTINGS``: one measurement, as JSON.

Each runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch

from soundleap.bench.distill_clock import Clock
from soundleap.bench.distill_settings import CaseName, DistillBenchSettings
from soundleap.bench.machine import peak_rss_in_bytes, reset_peak_rss


def prepare(case: CaseName, settings: DistillBenchSettings) -> dict[str, Any]:
    """Measure latents and text, ours and stock in turn."""
    from soundleap.bench.distill_prepare import Preparation

    preparation = Preparation(case, settings)
    if not settings.has_stock(case):
        return in_turn(settings.iterations, preparation.run)
    return in_turn(settings.iterations, preparation.run, preparation.run_stock)


def iterate(case: CaseName, settings: DistillBenchSettings) -> dict[str, Any]:
    """Measure our iterations, and their peak."""
    from soundleap.bench.distill_ours import Iteration

    ours = Iteration(case, settings)
    found = in_turn(settings.iterations, ours.run)
    return {**found, "parameters": sum(p.numel() for p in ours.student.parameters())}


def compare(case: CaseName, settings: DistillBenchSettings) -> dict[str, Any]:
    """Measure ours and stock in turn; the weights are shared, the peak is stock's."""
    from soundleap.bench.distill_ours import Iteration
    from soundleap.bench.distill_stock import StockIteration

    ours = Iteration(case, settings)
    return in_turn(settings.iterations, ours.run, StockIteration(ours, case).run)


def optimise(case: CaseName, settings: DistillBenchSettings) -> dict[str, Any]:
    """Measure the step of AdamW, ours and stock in turn, with no other network in memory."""
    from soundleap.bench.distill_optimiser import Optimisers

    both = Optimisers(case, settings)
    return in_turn(settings.iterations, both.run, both.run_stock)


TASKS: dict[str, Callable[[CaseName, DistillBenchSettings], dict[str, Any]]] = {
    "prepare": prepare,
    "iterate": iterate,
    "compare": compare,
    "optimise": optimise,
}
"""What a worker can be asked for."""


def in_turn(iterations: int, *runs: Callable[[int], Clock]) -> dict[str, Any]:
    """Run each once to warm up, then all in turn; give the clocks of each and the peak memory."""
    clocks: list[list[Clock]] = [[] for _ in runs]
    for run in runs:
        run(0)
    reset_peak_rss()
    for number in range(1, iterations + 1):
        for kept, run in zip(clocks, runs, strict=True):
            kept.append(run(number))
    names = ("ours", "stock")
    times = {
        name: {"wall": [c.wall for c in kept], "cpu": [c.cpu for c in kept]}
        for name, kept in zip(names, clocks, strict=False)
    }
    return {**times, "peak": peak_rss_in_bytes()}


def main(task: str, case: CaseName, values: str) -> None:
    """Do one task and print what it found."""
    settings = DistillBenchSettings(**json.loads(values))
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    print(json.dumps(TASKS[task](case, settings)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])  # pyright: ignore[reportArgumentType]
