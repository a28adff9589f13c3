"""Schedule and samplers in NumPy: what `soundleap.diffusion` does for the default family.

Times and coefficients are float64; latents are float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundleap.bundle_schema import Sampling, Schedule
from soundleap.errors import InputError, check_range

Floats = NDArray[np.floating[Any]]
Denoise = Callable[[Floats, float], Floats]
"""``denoise(x_t [1, C, L], t) -> x_0``."""

CLEAN = -1.0


class NumpySchedule:
    """The noise schedule at fractional times; see `soundleap.diffusion.NoiseSchedule`."""

    def __init__(self, schedule: Schedule) -> None:
        """Make the schedule whose betas are linear in their square root."""
        roots = np.linspace(
            math.sqrt(schedule.beta_start), math.sqrt(schedule.beta_end), schedule.num_train_steps
        )
        products = np.cumprod(1 - roots**2)
        self._knots = np.concatenate([[0.0], np.sqrt((1 - products) / products)])
        self.num_train_steps = schedule.num_train_steps

    def sigma_ve(self, t: float) -> float:
        """Give sigma / alpha at time t."""
        return float(np.interp(t + 1, np.arange(len(self._knots)), self._knots))

    def alpha(self, t: float) -> float:
        """Give the signal level at time t."""
        return 1 / math.sqrt(1 + self.sigma_ve(t) ** 2)

    def sigma(self, t: float) -> float:
        """Give the noise level at time t."""
        return self.sigma_ve(t) * self.alpha(t)


def to_x_0(output: Floats, x_t: Floats, alpha: float, sigma: float, prediction: str) -> Floats:
    """Turn a network's output into the clean sample; see `soundleap.diffusion.to_x_0`."""
    if prediction == "x0":
        return output
    a, s = np.float32(alpha), np.float32(sigma)
    return (x_t - s * output) / a if prediction == "eps" else a * x_t - s * output


def student_timesteps(sampling: Sampling, steps: int) -> list[float]:
    """Give the times at which a student is asked; see `consistency_timesteps`."""
    points = sorted({t for t in sampling.grid if t > 0}, reverse=True)
    check_range("num_inference_steps", steps, 1, len(points))
    return [points[i * len(points) // steps] for i in range(steps)]


def teacher_timesteps(schedule: NumpySchedule, steps: int) -> list[float]:
    """Give a teacher's path; see `sampling_timesteps`."""
    total = schedule.num_train_steps
    check_range("num_inference_steps", steps, 1, total)
    return [total - 1 - i * total / steps for i in range(steps + 1)]


def sample_student(
    denoise: Denoise,
    x_t: Floats,
    draw: Callable[[], Floats],
    times: list[float],
    schedule: NumpySchedule,
    sampling: Sampling,
) -> Floats:
    """Ask a consistency function at falling times, with fresh noise between them."""
    x_0 = x_t
    for step, t in enumerate(times):
        x_0 = denoise(x_t, t)
        if sampling.boundary == "lcm":
            tau = sampling.timestep_scaling * max(t, 0.0)
            square = tau**2 + sampling.sigma_data**2
            x_0 = (
                np.float32(sampling.sigma_data**2 / square) * x_t
                + np.float32(tau / math.sqrt(square)) * x_0
            )
        if step + 1 < len(times):
            s = times[step + 1]
            x_t = np.float32(schedule.alpha(s)) * x_0 + np.float32(schedule.sigma(s)) * draw()
    return x_0


def sample_teacher(
    denoise: Denoise, x_t: Floats, times: list[float], schedule: NumpySchedule, solver: str
) -> Floats:
    """Follow the probability flow by "ddim" or "dpmpp_2m".

    Raises:
        InputError: for another solver.

    Source: Lu et al. 2022 (DPM-Solver++), algorithm 2; Song et al. 2021 (DDIM), equation 12.
    """
    if solver not in ("ddim", "dpmpp_2m"):
        raise InputError(f"solver is {solver!r}; the engine onnx has: ddim, dpmpp_2m")
    last: tuple[Floats, float] | None = None
    for t, s in pairwise(times):
        found = denoise(x_t, t)
        x_0 = found
        if solver == "dpmpp_2m" and last is not None and s != CLEAN:
            weight = _log_ratio(schedule, t, s) / (2 * _log_ratio(schedule, last[1], t))
            x_0 = found + np.float32(weight) * (found - last[0])
        last = found, t
        ratio = schedule.sigma(s) / schedule.sigma(t)
        weight_0 = schedule.alpha(s) - schedule.alpha(t) * ratio
        x_t = np.float32(ratio) * x_t + np.float32(weight_0) * x_0
    return x_t


def _log_ratio(schedule: NumpySchedule, t: float, s: float) -> float:
    return math.log(schedule.sigma_ve(t) / schedule.sigma_ve(s))
