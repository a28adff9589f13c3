"""A Gaussian target N(mu, std^2): its exact denoiser and its exact probability flow."""

import torch
from torch import Tensor

from soundleap.diffusion import NoiseSchedule, per_sample

MU, STD = 0.7, 0.4
SCHEDULE = NoiseSchedule.scaled_linear()


def denoise(x_t: Tensor, t: Tensor) -> Tensor:
    """The posterior mean of x_0 given x_t."""
    a, s = per_sample(SCHEDULE.alpha(t), x_t), per_sample(SCHEDULE.sigma(t), x_t)
    return (a * STD**2 * x_t + s**2 * MU) / (a**2 * STD**2 + s**2)


def flow(x_t: Tensor, t: float | Tensor, s: float | Tensor) -> Tensor:
    """Where the probability flow takes x_t from time t to time s: it keeps the standard score."""
    return mean(s, x_t) + spread(s, x_t) / spread(t, x_t) * (x_t - mean(t, x_t))


def mean(t: float | Tensor, like: Tensor) -> Tensor:
    return per_sample(SCHEDULE.alpha(t), like) * MU


def spread(t: float | Tensor, like: Tensor) -> Tensor:
    return per_sample(torch.hypot(SCHEDULE.alpha(t) * STD, SCHEDULE.sigma(t)), like)
