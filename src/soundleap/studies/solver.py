"""Jump or walk: the solver's error over the intervals of coarse grids against teacher queries.

Start points are those of distillation: clean latents with noise added at the start of an interval.
The clean latents are the teacher's own samples at the study's guidance scale. The exact flow is
that of the guided teacher, followed with many small Heun steps; how much it still changes from half
as many is part of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from soundleap.diffusion import randn_per_sample, sample_generators, sampling_timesteps
from soundleap.errors import InputError, check_range
from soundleap.studies.cells import Cells
from soundleap.studies.errors import (
    GRIDS,
    METHODS,
    CoarseGrid,
    grid_named,
    interval_errors,
    pick_levels,
)
from soundleap.studies.ground import Ground, circumstances


@dataclass(frozen=True)
class SolverPlan:
    """What is measured.

    Attributes:
        grids: names from `errors.GRIDS`.
        levels: intervals of each grid, evenly spread; all where there are fewer.
        reference_steps: Heun steps of the reference in an interval.
        sample_steps: DPM-Solver++ steps that make the clean latents.
    """

    grids: tuple[str, ...] = tuple(GRIDS)
    levels: int = 8
    reference_steps: int = 32
    sample_steps: int = 25

    def __post_init__(self) -> None:
        if not self.grids or len(set(self.grids)) != len(self.grids):
            raise InputError(f"grids are {list(self.grids)}; give one or more, once each")
        for name in self.grids:
            grid_named(name)
        check_range("levels", self.levels, 1, 1000)
        check_range("sample_steps", self.sample_steps, 1, 1000)
        most = max(method.solver_steps for method in METHODS)
        check_range("reference_steps", self.reference_steps, 2 * most, 100_000)
        if self.reference_steps % 2:
            raise InputError(f"reference_steps is {self.reference_steps}; give an even number")


def study_solver(
    ground: Ground,
    plan: SolverPlan,
    folder: str | Path,
    *,
    on_cell: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Measure what is missing and sum up; the same call resumes.

    Args:
        ground: the model with a teacher, prompts, guidance scale and seeds.
        plan: what is measured.
        folder: of the study.
        on_cell: called after each of the `len(plan.grids) * len(ground.prompts)` cells (progress).

    Returns:
        The result, as JSON values: for every grid its levels and, for every method, calls of the
        guided teacher and network queries an interval, and the RMS error over all and by level.

    Raises:
        InputError: for a folder of another study.
    """
    cells = Cells(folder, {"study": "solver", **ground.facts(), **_plain(plan)})
    grids: dict[str, Any] = {}
    for name in plan.grids:
        found: list[Mapping[str, Any]] = []
        for index in range(len(ground.prompts)):

            def compute(index: int = index, grid: CoarseGrid = GRIDS[name]) -> dict[str, Any]:
                return measure_item(ground, plan, grid, index)

            found.append(cells(f"{name}-{index}", compute))
            if on_cell is not None:
                on_cell()
        grids[name] = {"title": GRIDS[name].title, **sum_up(found)}
    return {"study": "solver", **ground.facts(), **_plain(plan), **circumstances(),
            "results": grids}  # fmt: skip


@torch.no_grad()
def measure_item(ground: Ground, plan: SolverPlan, grid: CoarseGrid, index: int) -> dict[str, Any]:
    """Measure all methods on the levels of one grid, for one prompt; all levels are one batch."""
    sampler, _ = ground.sampler("teacher")
    generators = sample_generators([ground.seeds()[index]])
    path = sampling_timesteps(sampler.schedule, plan.sample_steps)
    x_0 = sampler.teacher(ground.conditions(index), path, "dpmpp_2m", generators)
    starts, ends = grid.intervals(sampler.schedule)
    picked = pick_levels(len(starts), plan.levels)
    t, s = starts[picked], ends[picked]
    noise = torch.cat([randn_per_sample(x_0.shape[1:], generators) for _ in picked])
    x_t = sampler.schedule.add_noise(x_0.expand_as(noise), noise, t)
    sampler, counted = ground.sampler("teacher", batch=len(picked))
    denoise = sampler.teacher_denoise(ground.conditions(index, copies=len(picked)))
    denoise(x_t, t)
    each = counted.queries  # of one call: two with guidance
    errors = interval_errors(
        denoise, x_t, t, s, sampler.schedule, reference_steps=plan.reference_steps
    )
    return {"t": t.tolist(), "s": s.tolist(), "queries_a_call": each, **asdict(errors)}


def sum_up(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the items of one grid together: root mean squares over items, and over levels."""
    first = items[0]
    moved = _over_items([item["moved"] for item in items])
    rows: list[dict[str, Any]] = []
    for name, calls in first["calls"].items():
        levels = _over_items([item["error"][name] for item in items])
        rows.append({
            "method": name,
            "calls": calls,
            "queries": calls * first["queries_a_call"],
            "error": _root_mean(levels),
            "relative": _root_mean(levels) / _root_mean(moved),
            "by_level": levels,
        })  # fmt: skip
    check = _over_items([item["check"] for item in items])
    return {"t": first["t"], "s": first["s"], "items": len(items), "moved": moved,
            "reference_check": _root_mean(check), "reference_check_by_level": check,
            "methods": rows}  # fmt: skip


def _over_items(rows: Sequence[Sequence[float]]) -> list[float]:
    return [_root_mean(values) for values in zip(*rows, strict=True)]


def _root_mean(values: Sequence[float]) -> float:
    return (sum(value**2 for value in values) / len(values)) ** 0.5


def _plain(plan: SolverPlan) -> dict[str, Any]:
    return {**asdict(plan), "grids": list(plan.grids)}
