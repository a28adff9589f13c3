"""From noise to samples: ODE sampling for teachers, a few queries for consistency functions.

Every sample has its own CPU generator, so that it depends on nothing else in its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized

import torch
from torch import Tensor

from ..errors import InputError, check_range
from .denoisers import Denoise
from .schedules import NoiseSchedule
from .solvers import Solver, ddim_update, solve
from .times import CLEAN
from .timesteps import falling_path, falling_times

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
        timesteps: [n + 1] falling to -1 or 0, from `sampling_timesteps`, `leading_timesteps` or
            `linspace_timesteps`.
        schedule: the teacher's schedule.
        solver: its name.
        callback_on_step_end: called with the step's number, its timestep and the estimate of x_0.

    Returns:
        [B, ...] samples at the path's end: clean at -1; with the little noise of t = 0 at 0, as
        published samplers leave it.

    Raises:
        InputError: for an unknown solver, or timesteps that do not fall to -1 or 0.
    """
    falling_path("timesteps", timesteps, schedule)

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
    *,
    noises: Iterable[Tensor] | None = None,
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
        noises: n - 1 times [B, ...] noise to use in place of draws, in order.

    Returns:
        [B, ...] clean samples, the last query's answer.

    Raises:
        InputError: for timesteps that do not fall, and for missing generators or noises.

    Source: Song et al. 2023 (consistency models), algorithm 1; Luo et al. 2023 (LCM), algorithm 3.
    """
    times = falling_times("timesteps", timesteps, schedule)
    if times[-1] == CLEAN:
        raise InputError("timesteps hold -1, where there is nothing to denoise; leave it out")
    count = 0 if deterministic else len(times) - 1
    draws = noise_stream(count, x_T, generators, lengths=lengths, noises=noises)
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
                x_t = schedule.add_noise(x_0, next(draws), s)
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


def noise_stream(
    count: int,
    like: Tensor,
    generators: Sequence[torch.Generator] | None,
    *,
    lengths: Sequence[int] | None = None,
    noises: Iterable[Tensor] | None = None,
) -> Iterator[Tensor]:
    """Give the noise of a sampler's steps one by one: drawn per sample, or the given ones.

    Args:
        count: how many the sampler will take.
        like: [B, ...] samples of the shape, type and device that the noise gets.
        generators: one CPU generator per sample; needed for draws.
        lengths: see `randn_per_sample`.
        noises: [B, ...] tensors to give in place of draws.

    Raises:
        InputError: for missing generators or noises, or noise of another shape.
    """
    if count == 0:
        return iter(())
    if noises is not None:
        if isinstance(noises, Sized) and len(noises) < count:
            raise InputError(f"got {len(noises)} noises; needed: {count}")
        return _given_noise(noises, like)
    if generators is None or len(generators) != len(like):
        got = 0 if generators is None else len(generators)
        raise InputError(
            f"got {got} generators for {len(like)} samples; give one CPU generator each"
        )
    return _drawn_noise(count, like, generators, lengths)


def _drawn_noise(
    count: int,
    like: Tensor,
    generators: Sequence[torch.Generator],
    lengths: Sequence[int] | None,
) -> Iterator[Tensor]:
    for _ in range(count):
        yield randn_per_sample(
            like.shape[1:], generators, lengths=lengths, device=like.device, dtype=like.dtype
        )


def _given_noise(noises: Iterable[Tensor], like: Tensor) -> Iterator[Tensor]:
    for noise in noises:
        if noise.shape != like.shape:
            raise InputError(f"noise is {tuple(noise.shape)}; needed: {tuple(like.shape)}")
        yield noise.to(like.device, like.dtype)
    raise InputError("noises end before the last step that needs one; give one each")
