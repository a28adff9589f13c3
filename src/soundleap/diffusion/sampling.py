"""From noise to samples: ODE sampling for teachers, a few queries for consistency functions.

Every sample has its own CPU generator, so that it depends on nothing else in its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import InputError, check_range
from .denoisers import Denoise
from .schedules import NoiseSchedule
from .solvers import Solver, ddim_update, solve
from .times import CLEAN

SampleCallback = Callable[[int, float, Tensor], None]
"""``callback(step_index, timestep, x_0)``: called after every step; may stop the run by raising."""


def sample_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """Make one CPU generator per sample from its seed.

    Raises:
        InputError: for a seed outside 0 .. 2^64 - 1.
    """
    for seed in seeds:
        if not 0 <= seed < 2**64:
            raise InputError(f"seed is {seed}; allowed: 0 to {2**64 - 1}")
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def randn_per_sample(
    shape_without_batch: Sequence[int],
    generators: Sequence[torch.Generator],
    *,
    lengths: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draw standard normal noise, sample by sample.

    Drawn on the CPU in float32 whatever the device and type, so that a seed means the same
    everywhere.

    Args:
        shape_without_batch: shape of one sample.
        generators: one CPU generator per sample; B of them.
        lengths: each sample's own size of the last dimension, at most that of the shape; its noise
            is drawn at this size and followed by zeros, so that padding never changes a draw.
        device: where the result goes.
        dtype: its type.

    Returns:
        [B, ...] noise.

    Raises:
        InputError: if there is no generator, one is not on the CPU, or lengths do not fit.
    """
    if not generators:
        raise InputError("generators is empty; give one CPU generator per sample")
    for generator in generators:
        if generator.device.type != "cpu":
            raise InputError(f"a generator is on {generator.device}; use CPU generators")
    *head, longest = shape_without_batch
    sizes = [longest] * len(generators) if lengths is None else list(lengths)
    if len(sizes) != len(generators) or not all(0 < size <= longest for size in sizes):
        raise InputError(
            f"lengths are {sizes}; needed: {len(generators)} numbers from 1 to {longest}"
        )
    noise = torch.zeros(len(generators), *head, longest)
    for row, generator, size in zip(noise, generators, sizes, strict=True):
        row[..., :size] = torch.randn(*head, size, generator=generator)
    return noise.to(device, dtype)


def sample_ode(
    denoise: Denoise,
    x_T: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    *,
    solver: Solver = "dpmpp_2m",
    callback_on_step_end: SampleCallback | None = None,
) -> Tensor:
    """Follow a teacher's probability flow from noise to a sample.

    Args:
        denoise: the teacher's denoise function, guidance included.
        x_T: [B, ...] noise at the first timestep.
        timesteps: [n + 1] falling, from `schedules.sampling_timesteps`; ends with -1.
        schedule: the teacher's schedule.
        solver: its name.
        callback_on_step_end: called with the step's number, its timestep and the estimate of x_0.

    Returns:
        [B, ...] clean samples.

    Raises:
        InputError: for an unknown solver, or timesteps that do not fall to -1.
    """
    _check_falling("timesteps", timesteps, schedule)
    if float(timesteps[-1]) != CLEAN or len(timesteps) < 2:
        raise InputError(
            f"timesteps end at {float(timesteps[-1]):g}; they must end at -1 after a step or more "
            "(sampling_timesteps makes such a list)"
        )

    def report(step: int, t: Tensor, x_0: Tensor) -> None:
        if callback_on_step_end is not None:
            callback_on_step_end(step, float(t[0]), x_0)

    return solve(denoise, x_T, timesteps, schedule, solver, report)


def sample_consistency(
    f: Denoise,
    x_T: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    generators: Sequence[torch.Generator] | None = None,
    deterministic: bool = False,
    lengths: Sequence[int] | None = None,
    callback_on_step_end: SampleCallback | None = None,
) -> Tensor:
    """Sample in as many queries of a consistency function as there are timesteps.

    Every query gives a clean sample; before the next one it is brought back to that query's noise
    level, with fresh noise or, deterministically, with the noise that the last query implied.

    Args:
        f: the consistency function.
        x_T: [B, ...] noise at the first timestep.
        timesteps: [n] falling, all above -1, best from `consistency_timesteps`.
        schedule: the schedule that the timesteps belong to.
        generators: one CPU generator per sample; needed for fresh noise, that is for two and more
            queries unless deterministic.
        deterministic: re-use the implied noise instead of drawing.
        lengths: each sample's own size of the last dimension where a batch is padded.
        callback_on_step_end: called with the query's number, its timestep and its x_0.

    Returns:
        [B, ...] clean samples, the last query's answer.

    Raises:
        InputError: for timesteps that do not fall, and for missing generators.

    Source: Song et al. 2023 (consistency models), algorithm 1; Luo et al. 2023 (LCM), algorithm 3.
    """
    times = _check_falling("timesteps", timesteps, schedule)
    if times[-1] == CLEAN:
        raise InputError("timesteps hold -1, where there is nothing to denoise; leave it out")
    fresh = len(times) > 1 and not deterministic
    if fresh and (generators is None or len(generators) != len(x_T)):
        count = 0 if generators is None else len(generators)
        raise InputError(
            f"got {count} generators for {len(x_T)} samples; give one CPU generator each"
        )
    x_t = x_T
    x_0 = x_T
    for step, t in enumerate(times):
        x_0 = f(x_t, torch.full((len(x_t),), t, dtype=torch.float64))
        if callback_on_step_end is not None:
            callback_on_step_end(step, t, x_0)
        if step + 1 < len(times):
            s = times[step + 1]
            if deterministic:
                x_t = ddim_update(x_t, x_0, t, s, schedule)
            else:
                eps = randn_per_sample(
                    x_0.shape[1:],
                    generators or (),
                    lengths=lengths,
                    device=x_0.device,
                    dtype=x_0.dtype,
                )
                x_t = schedule.add_noise(x_0, eps, s)
    return x_0


def consistency_timesteps(grid: Tensor, num_inference_steps: int) -> Tensor:
    """Pick evenly spaced timesteps from the grid a consistency function was trained on.

    Of the N grid points above t = 0 (at 0 the function is the identity and nothing is asked),
    noisiest first, those with the numbers floor(i * N / n), i = 0..n-1, are taken: the first is
    always the noisiest.

    Args:
        grid: [points] the trained grid in any order.
        num_inference_steps: how many queries n.

    Returns:
        [n] float64, falling.

    Raises:
        InputError: for more steps than points, or less than one.

    Source: Luo et al. 2023 (LCM), the released scheduler.
    """
    points = sorted({float(t) for t in grid.reshape(-1) if t > 0}, reverse=True)
    if not points:
        raise InputError("grid has no point above t = 0; give the grid of the training")
    check_range("num_inference_steps", num_inference_steps, 1, len(points))
    picks = [i * len(points) // num_inference_steps for i in range(num_inference_steps)]
    return torch.tensor([points[i] for i in picks], dtype=torch.float64)


def _check_falling(name: str, timesteps: Tensor, schedule: NoiseSchedule) -> list[float]:
    checked = schedule.check_times(timesteps)
    times = [float(t) for t in checked.reshape(-1)]
    if checked.ndim != 1 or not times or not bool((checked.diff() < 0).all()):
        raise InputError(f"{name} must be one list of falling times; got {times}")
    return times
