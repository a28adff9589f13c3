"""Lists of timesteps that the published samplers visit, for the samplers of this package.

A path for `sample_ode` or `sample_ddpm` holds one time more than there are steps: its last entry
is where the sample ends, -1 (clean) or 0 (as the originals without ``set_alpha_to_one`` do).
A list for `sample_consistency` holds queries only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError, check_range
from .schedules import NoiseSchedule, linspace_grid
from .times import CLEAN


def leading_timesteps(
    schedule: NoiseSchedule, num_inference_steps: int, offset: int = 1, end: float = CLEAN
) -> Tensor:
    """Give TANGO's path: i * (T // n) + offset for i = n-1..0, then the end.

    With 200 steps of 1000: 996, 991, ..., 1; offset 0 gives the list of the 2023 release, 995, 990,
    ..., 0. Make-An-Audio 2's list is the same where n divides T (see `strided_timesteps`).

    Args:
        schedule: the teacher's schedule of T timesteps.
        num_inference_steps: how many steps n.
        offset: added to every timestep.
        end: where the path ends: -1 for `sample_ddpm`, 0 for the originals' DDIM.

    Returns:
        [n + 1] float64, falling.

    Raises:
        InputError: if n or the offset is out of range, or the path doesn't fall to its end.

    Source: the "leading" spacing of diffusers 0.18.2's DDPM and DDIM schedulers, as TANGO uses it.
    """
    check_range("num_inference_steps", num_inference_steps, 1, schedule.num_train_steps)
    stride = schedule.num_train_steps // num_inference_steps
    times = torch.arange(num_inference_steps, dtype=torch.float64).flip(0) * stride + offset
    return _path(times, schedule, end)


def strided_timesteps(
    schedule: NoiseSchedule, num_inference_steps: int, end: float = 0.0
) -> Tensor:
    """Give latent diffusion's DDIM path: every (T // n)-th timestep, plus 1, and the end.

    With 100 steps of 1000: 991, 981, ..., 1, then 0. If n doesn't divide T there are more steps
    than n, as in Make-An-Audio 2: 31 for 30.

    Args:
        schedule: the teacher's schedule of T timesteps.
        num_inference_steps: how many steps are wanted.
        end: where the path ends.

    Returns:
        [steps + 1] float64, falling.

    Raises:
        InputError: if n is out of range, or the list would begin above T - 1 (n = 3, 9, 27, ...).

    Source: Rombach et al. 2022 (latent diffusion), the released DDIM sampler.
    """
    check_range("num_inference_steps", num_inference_steps, 1, schedule.num_train_steps)
    stride = schedule.num_train_steps // num_inference_steps
    times = torch.arange(0, schedule.num_train_steps, stride, dtype=torch.float64).flip(0) + 1
    return _path(times, schedule, end)


def linspace_timesteps(schedule: NoiseSchedule, num_inference_steps: int) -> Tensor:
    """Give ConsistencyTTA's path for its teacher: n times from T - 1 to 0, evenly, then -1.

    With Heun's method n steps are 2n - 1 queries, since the last one is Euler's.

    Returns:
        [n + 1] float64, falling.

    Raises:
        InputError: unless 2 <= num_inference_steps <= T.

    Source: Bai et al. 2024 (ConsistencyTTA), the released Heun schedule.
    """
    check_range("num_inference_steps", num_inference_steps, 2, schedule.num_train_steps)
    return _path(linspace_grid(schedule, num_inference_steps).flip(0), schedule, CLEAN)


def consistencytta_timesteps(num_inference_steps: int, t_max: float = 999.0) -> Tensor:
    """Give the original's list of queries: t_max, then the rest of n times from t_max to 0, evenly.

    From two queries on it ends at t = 0, a noise level that the student has never seen:
    `consistency_timesteps` picks trained levels instead.

    Args:
        num_inference_steps: how many queries n.
        t_max: the noisiest timestep, T - 1.

    Returns:
        [n] float64, falling.

    Raises:
        InputError: unless 1 <= n <= t_max + 1.

    Source: Bai et al. 2024 (ConsistencyTTA), the released inference.
    """
    check_range("num_inference_steps", num_inference_steps, 1, t_max + 1)
    if num_inference_steps == 1:
        return torch.tensor([t_max], dtype=torch.float64)
    steps = torch.arange(num_inference_steps, dtype=torch.float64).flip(0)
    return steps * t_max / (num_inference_steps - 1)


def lcm_timesteps(schedule: NoiseSchedule, original_steps: int, num_inference_steps: int) -> Tensor:
    """Give the released LCM scheduler's list of queries.

    Its grid is k * (i + 1) - 1 for i = 0..O-1 with k = T // O; of the falling grid the entries
    floor(i * (O / n)) in floating point are taken. Where O divides T this is
    `consistency_timesteps` of `uniform_grid`, but for a rounding in a few sizes (O = 30, n = 22).

    Args:
        schedule: the schedule of T timesteps.
        original_steps: points O of the grid that the student was trained on.
        num_inference_steps: how many queries n.

    Returns:
        [n] float64, falling.

    Raises:
        InputError: unless 1 <= n <= O <= T.

    Source: Luo et al. 2023 (LCM), the released scheduler; AudioLCM has O = 50.
    """
    check_range("original_steps", original_steps, 1, schedule.num_train_steps)
    check_range("num_inference_steps", num_inference_steps, 1, original_steps)
    stride = schedule.num_train_steps // original_steps
    grid = (torch.arange(1, original_steps + 1, dtype=torch.float64) * stride - 1).flip(0)
    steps = torch.arange(num_inference_steps, dtype=torch.float64)
    return grid[(steps * (original_steps / num_inference_steps)).floor().long()]


def falling_times(name: str, timesteps: Tensor, schedule: NoiseSchedule) -> list[float]:
    """Give a list of falling times as numbers.

    Raises:
        InputError: unless it is one list, not empty, falling, and within the schedule.
    """
    checked = schedule.check_times(timesteps)
    times = [float(t) for t in checked.reshape(-1)]
    if checked.ndim != 1 or not times or not bool((checked.diff() < 0).all()):
        raise InputError(f"{name} must be one list of falling times; got {times}")
    return times


def falling_path(name: str, timesteps: Tensor, schedule: NoiseSchedule) -> list[float]:
    """Give a falling path that ends at t = 0 or t = -1 as numbers.

    Raises:
        InputError: unless it holds two times or more, falls and ends so.
    """
    times = falling_times(name, timesteps, schedule)
    if times[-1] not in (CLEAN, 0.0) or len(times) < 2:
        raise InputError(
            f"{name} end at {times[-1]:g}; they must end at -1 or 0 after a step or more "
            "(sampling_timesteps and leading_timesteps make such lists)"
        )
    return times


def _path(times: Tensor, schedule: NoiseSchedule, end: float) -> Tensor:
    path = torch.cat([times, torch.tensor([end], dtype=torch.float64)])
    if float(path[0]) > schedule.t_max:
        raise InputError(
            f"num_inference_steps is {len(times)}, whose first timestep would be "
            f"{float(path[0]):g}; allowed: up to {schedule.t_max:g}: choose another number of steps"
        )
    falling_path("timesteps", path, schedule)
    return path
