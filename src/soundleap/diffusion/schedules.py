"""Noise schedules, and the grids of timesteps at which they are visited.

A sample at time t is x_t = alpha(t) * x_0 + sigma(t) * eps with alpha^2 + sigma^2 = 1. Times are
the timesteps 0..T-1 of the training schedule; fractional times are allowed everywhere, and t = -1
is the clean sample (alpha 1, sigma 0). Times and coefficients are float64, best kept on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from ..errors import InputError, check_range, unknown_name
from .times import CLEAN, Times, as_float64, extent, per_sample


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """A variance-preserving noise schedule over T training timesteps.

    Between timesteps sigma_ve = sigma / alpha is interpolated linearly in t, as ConsistencyTTA's
    fractional timesteps need it; below t = 0 the same rule leads to sigma_ve(-1) = 0.

    Attributes:
        alphas_cumprod: [T] float64 on the CPU, strictly falling, inside (0, 1).
    """

    alphas_cumprod: Tensor

    def __post_init__(self) -> None:
        table = self.alphas_cumprod
        if table.ndim != 1 or len(table) < 2 or table.dtype != torch.float64 or not table.is_cpu:
            raise InputError(
                f"alphas_cumprod is {tuple(table.shape)} {table.dtype} on {table.device}; needed: "
                "[T] float64 on the CPU with T >= 2 (use NoiseSchedule.from_alphas_cumprod)"
            )
        if not (bool((table > 0).all()) and bool((table < 1).all())):
            raise InputError(
                f"alphas_cumprod runs from {float(table[0]):g} to {float(table[-1]):g}; allowed: "
                "above 0 and below 1 (a schedule that ends in pure noise has no finite sigma_ve)"
            )
        if not bool((table.diff() < 0).all()):
            raise InputError("alphas_cumprod does not fall strictly; give it from t = 0 upwards")

    @classmethod
    def scaled_linear(
        cls, beta_start: float = 0.00085, beta_end: float = 0.012, num_train_steps: int = 1000
    ) -> NoiseSchedule:
        """Make the schedule whose betas are linear in their square root.

        The defaults are those of Stable Diffusion.

        Raises:
            InputError: unless 0 < beta_start < beta_end < 1 and num_train_steps >= 2.

        Source: Rombach et al. 2022 (latent diffusion), the released schedule.
        """
        check_range("num_train_steps", num_train_steps, 2, 1_000_000)
        if not 0 < beta_start < beta_end < 1:
            raise InputError(
                f"beta_start is {beta_start:g} and beta_end {beta_end:g}; "
                "needed: 0 < beta_start < beta_end < 1"
            )
        roots = torch.linspace(
            math.sqrt(beta_start), math.sqrt(beta_end), num_train_steps, dtype=torch.float64
        )
        return cls((1 - roots**2).cumprod(0))

    @classmethod
    def from_alphas_cumprod(cls, table: Sequence[float] | Tensor) -> NoiseSchedule:
        """Make a schedule from a table of cumulative products, t = 0 first.

        Raises:
            InputError: unless the table is one-dimensional, strictly falling and inside (0, 1).
        """
        return cls(torch.as_tensor(table, dtype=torch.float64).detach().cpu().clone())

    @property
    def num_train_steps(self) -> int:
        """The number T of training timesteps."""
        return len(self.alphas_cumprod)

    @property
    def t_max(self) -> float:
        """The noisiest time, T - 1."""
        return float(len(self.alphas_cumprod) - 1)

    def alpha(self, t: Times) -> Tensor:
        """Give the signal level at time t, in (0, 1]: float64, shape and device of t.

        Raises:
            InputError: for t outside [-1, T-1].
        """
        return torch.rsqrt(1 + self.sigma_ve(t) ** 2)

    def sigma(self, t: Times) -> Tensor:
        """Give the noise level at time t, in [0, 1): float64, shape and device of t.

        Raises:
            InputError: for t outside [-1, T-1].
        """
        sigma_ve = self.sigma_ve(t)
        return sigma_ve * torch.rsqrt(1 + sigma_ve**2)

    def log_snr(self, t: Times) -> Tensor:
        """Give log(alpha^2 / sigma^2) at time t (infinite at t = -1): float64.

        Raises:
            InputError: for t outside [-1, T-1].
        """
        return -2 * self.sigma_ve(t).log()

    def sigma_ve(self, t: Times) -> Tensor:
        """Give sigma / alpha at time t, the noise level in variance-exploding coordinates: float64.

        Raises:
            InputError: for t outside [-1, T-1].
        """
        times = self.check_times(t)
        position = times + 1
        below = position.floor().clamp(max=self.t_max)  # so that t = T-1 has a knot above it
        knots = self._knots.to(times.device)
        index = below.long()
        return torch.lerp(knots[index], knots[index + 1], position - below)

    def t_from_sigma_ve(self, s: Times) -> Tensor:
        """Give the time at which `sigma_ve` is s, its exact inverse: float64.

        Raises:
            InputError: for s outside [0, sigma_ve(T-1)].
        """
        levels = as_float64("sigma_ve", s)
        knots = self._knots.to(levels.device)
        if not bool(((levels >= 0) & (levels <= knots[-1])).all()):
            raise InputError(
                f"sigma_ve is {extent(levels)}; allowed: 0 to {float(knots[-1]):g} "
                f"(t = {self.t_max:g})"
            )
        above = torch.searchsorted(knots, levels.contiguous()).clamp(min=1)
        low, high = knots[above - 1], knots[above]
        return (above - 2) + (levels - low) / (high - low)

    def add_noise(self, x_0: Tensor, eps: Tensor, t: Times) -> Tensor:
        """Give x_t = alpha(t) * x_0 + sigma(t) * eps.

        Args:
            x_0: [B, ...] clean samples.
            eps: noise of the same shape.
            t: one time, or [B] one per sample.

        Raises:
            InputError: if the shapes differ or t is out of range.
        """
        if x_0.shape != eps.shape:
            raise InputError(
                f"x_0 is {tuple(x_0.shape)} but eps {tuple(eps.shape)}; make them equal"
            )
        return per_sample(self.alpha(t), x_0) * x_0 + per_sample(self.sigma(t), x_0) * eps

    def check_times(self, t: Times) -> Tensor:
        """Give t as a float64 tensor on its own device.

        Raises:
            InputError: for t outside [-1, T-1], or of a type that cannot hold timesteps.
        """
        times = as_float64("t", t)
        if not bool(((times >= CLEAN) & (times <= self.t_max)).all()):
            raise InputError(f"t is {extent(times)}; allowed: -1 (clean) to {self.t_max:g}")
        return times

    @cached_property
    def _knots(self) -> Tensor:
        """[T + 1] sigma_ve at t = -1, 0, ..., T-1."""
        levels = ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()
        return torch.cat([torch.zeros(1, dtype=torch.float64), levels])


def uniform_grid(schedule: NoiseSchedule, points: int) -> Tensor:
    """Give the coarse grid of LCM and AudioLCM: t_i = (i + 1) * T / points - 1, i = 0..points-1.

    Ascending, [points] float64. For T = 1000 and 50 points: 19, 39, ..., 999. Zero is not in it;
    in LCM the interval below the first point ends at t = 0.

    Raises:
        InputError: unless 1 <= points <= T.

    Source: Luo et al. 2023 (LCM), section 4.3 with k = T / points.
    """
    check_range("points", points, 1, schedule.num_train_steps)
    steps = torch.arange(1, points + 1, dtype=torch.float64)
    return steps * schedule.num_train_steps / points - 1


def linspace_grid(schedule: NoiseSchedule, points: int) -> Tensor:
    """Give the coarse grid of ConsistencyTTA: t_i = i * (T - 1) / (points - 1), i = 0..points-1.

    Ascending, [points] float64, from 0 to T - 1 with both ends. ConsistencyTTA has 18 points.

    Raises:
        InputError: unless 2 <= points <= T.

    Source: Bai et al. 2024 (ConsistencyTTA), the released Heun schedule.
    """
    check_range("points", points, 2, schedule.num_train_steps)
    return torch.arange(points, dtype=torch.float64) * schedule.t_max / (points - 1)


def karras_sigmas(n: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Give n noise levels (sigma_ve), descending from sigma_max to sigma_min: [n] float64.

    Raises:
        InputError: unless n >= 2, 0 < sigma_min < sigma_max and rho > 0.

    Source: Karras et al. 2022 (EDM), equation 5.
    """
    check_range("n", n, 2, 1_000_000)
    check_range("rho", rho, 1e-3, 1e3)
    if not 0 < sigma_min < sigma_max < math.inf:
        raise InputError(
            f"sigma_min is {sigma_min:g} and sigma_max {sigma_max:g}; "
            "needed: 0 < sigma_min < sigma_max"
        )
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    sigmas = (high + torch.linspace(0, 1, n, dtype=torch.float64) * (low - high)) ** rho
    sigmas[0], sigmas[-1] = sigma_max, sigma_min
    return sigmas


def karras_grid(schedule: NoiseSchedule, points: int, rho: float = 7.0) -> Tensor:
    """Give the times of Karras' noise levels between t = 0 and t = T - 1.

    Ascending, [points] float64, with both ends.

    Raises:
        InputError: unless points >= 2 and rho > 0.

    Source: Karras et al. 2022 (EDM), equation 5.
    """
    check_range("points", points, 2, schedule.num_train_steps)
    low, high = (float(schedule.sigma_ve(t)) for t in (0.0, schedule.t_max))
    return schedule.t_from_sigma_ve(karras_sigmas(points, low, high, rho).flip(0))


def explicit_grid(schedule: NoiseSchedule, timesteps: Sequence[float]) -> Tensor:
    """Give a coarse grid from a list of times, rising from 0 or above: [points] float64.

    Raises:
        InputError: for a list that is empty, does not rise, or leaves the schedule.
    """
    grid = schedule.check_times(torch.tensor(timesteps, dtype=torch.float64))
    if not len(grid) or grid[0] < 0 or not bool((grid.diff() > 0).all()):
        raise InputError(f"grid timesteps are {list(timesteps)}; needed: rising, from 0 or above")
    return grid


Spacing = Literal["uniform", "linspace", "karras", "explicit"]
GRIDS: dict[str, Callable[[NoiseSchedule, int], Tensor]] = {
    "uniform": uniform_grid,
    "linspace": linspace_grid,
    "karras": karras_grid,
}
"""Coarse grids by the name that settings use for their spacing; "explicit" is a list of times."""


def coarse_grid(
    schedule: NoiseSchedule,
    points: int,
    spacing: Spacing = "uniform",
    timesteps: Sequence[float] = (),
) -> Tensor:
    """Give a coarse grid by the name of its spacing ("explicit": `timesteps`): ascending float64.

    Raises:
        InputError: for an unknown spacing or a number of points that it cannot have.
    """
    if spacing == "explicit":
        return explicit_grid(schedule, timesteps)
    if spacing not in GRIDS:
        raise unknown_name("grid spacing", spacing, [*GRIDS, "explicit"])
    return GRIDS[spacing](schedule, points)


def sampling_timesteps(schedule: NoiseSchedule, num_inference_steps: int) -> Tensor:
    """Give the path of an ODE sampler: t_i = T - 1 - i * T / n, i = 0..n.

    Descending from T - 1 to -1 (clean), [n + 1] float64: n steps, evenly spaced in t.

    Raises:
        InputError: unless 1 <= num_inference_steps <= T.
    """
    check_range("num_inference_steps", num_inference_steps, 1, schedule.num_train_steps)
    steps = torch.arange(num_inference_steps + 1, dtype=torch.float64)
    return schedule.t_max - steps * schedule.num_train_steps / num_inference_steps
