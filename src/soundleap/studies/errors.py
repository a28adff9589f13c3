"""How far solvers end from the exact flow over intervals of a coarse grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soundleap.diffusion import Denoise, NoiseSchedule, Solver, coarse_grid, solve, walk_path
from soundleap.diffusion.schedules import Spacing
from soundleap.errors import InputError, check_range, unknown_name


@dataclass(frozen=True)
class Method:
    """A solver and the number m of its steps in an interval: 1 jumps, more walk."""

    solver: Solver
    solver_steps: int

    @property
    def name(self) -> str:
        """Its name in tables, as ``ddim-4``."""
        return f"{self.solver}-{self.solver_steps}"


METHODS: tuple[Method, ...] = (
    *(Method("ddim", m) for m in (1, 2, 4, 8)),
    *(Method("heun", m) for m in (1, 2, 4, 8)),
    *(Method("dpmpp_2m", m) for m in (2, 4, 8)),
)
"""What is compared; one step of DPM-Solver++(2M) is DDIM's."""


@dataclass(frozen=True)
class CoarseGrid:
    """The intervals of a published or own distillation.

    Attributes:
        spacing: of the grid.
        points: of the grid, t = 0 counted where the spacing has it.
        skip_points: grid points that an interval crosses.
        title: whose it is.
    """

    spacing: Spacing
    points: int
    skip_points: int
    title: str

    def intervals(self, schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
        """Give all starts t and ends s, rising, ``[intervals]`` float64; the lowest end at 0."""
        grid = coarse_grid(schedule, self.points, self.spacing)
        starts = grid[grid > 0]
        ends = torch.cat([torch.zeros(self.skip_points, dtype=torch.float64), starts])
        return starts, ends[: len(starts)]


GRIDS: dict[str, CoarseGrid] = {
    "audiolcm": CoarseGrid("uniform", 50, 1, "AudioLCM: 50 points, uniform"),
    "consistencytta": CoarseGrid("linspace", 18, 1, "ConsistencyTTA: 18 points, linspace"),
    "default-near": CoarseGrid("uniform", 50, 5, "default student, first stage: 5 of 50"),
    "default-far": CoarseGrid("uniform", 50, 10, "default student, second stage: 10 of 50"),
}
"""Coarse grids by name."""


@dataclass(frozen=True)
class IntervalErrors:
    """Distances in latents of every interval of one item.

    Attributes:
        error: method -> RMS distance from the reference of each interval.
        calls: method -> calls of the denoise function.
        moved: how far the reference moves, RMS of each interval.
        check: RMS between the reference and one of half its steps.
    """

    error: dict[str, list[float]]
    calls: dict[str, int]
    moved: list[float]
    check: list[float]


def interval_errors(
    denoise: Denoise,
    x_t: Tensor,
    t: Tensor,
    s: Tensor,
    schedule: NoiseSchedule,
    *,
    methods: Sequence[Method] = METHODS,
    reference_steps: int = 32,
) -> IntervalErrors:
    """Cross intervals with every method, and with many Heun steps as the reference.

    Args:
        denoise: the (guided) denoise function.
        x_t: ``[B, ...]`` where each interval starts.
        t: ``[B]`` starts.
        s: ``[B]`` ends.
        schedule: of the times.
        methods: what is compared.
        reference_steps: Heun steps of the reference, evenly spaced in t.

    Raises:
        InputError: for an odd number of reference steps, or less than 2.
    """
    check_range("reference_steps", reference_steps, 2, 100_000)
    if reference_steps % 2:
        raise InputError(f"reference_steps is {reference_steps}; give an even number")

    def cross(method: Method, asked: Denoise) -> Tensor:
        path = walk_path(t, s, method.solver_steps)
        return solve(asked, x_t, path, schedule, method.solver)

    exact = cross(Method("heun", reference_steps), denoise)
    half = cross(Method("heun", reference_steps // 2), denoise)
    error: dict[str, list[float]] = {}
    calls: dict[str, int] = {}
    for method in methods:
        asked, count = counted(denoise)
        error[method.name] = row_rms(cross(method, asked) - exact)
        calls[method.name] = count()
    return IntervalErrors(error, calls, row_rms(exact - x_t), row_rms(half - exact))


def counted(denoise: Denoise) -> tuple[Denoise, Callable[[], int]]:
    """Give a denoise function that counts its calls, and what tells the count."""
    calls: list[None] = []

    def asked(x_t: Tensor, t: Tensor) -> Tensor:
        calls.append(None)
        return denoise(x_t, t)

    return asked, lambda: len(calls)


def row_rms(values: Tensor) -> list[float]:
    """Root of the mean square of each item."""
    return values.double().flatten(1).square().mean(1).sqrt().tolist()


def pick_levels(count: int, levels: int) -> list[int]:
    """Pick so many of `count` intervals, evenly spread, both ends among them; all if fewer."""
    if levels >= count:
        return list(range(count))
    if levels == 1:
        return [count - 1]
    return [round(i * (count - 1) / (levels - 1)) for i in range(levels)]


def grid_named(name: str) -> CoarseGrid:
    """Give a grid by its name.

    Raises:
        InputError: naming the nearest one that is there.
    """
    if name not in GRIDS:
        raise unknown_name("grid", name, GRIDS)
    return GRIDS[name]
