"""Networks in closed form: the exact denoiser of a Gaussian whose mean is the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from soundleap.diffusion import NoiseSchedule, Prediction, from_x_0, per_sample
from soundleap.training.objectives import ConsistencyDraws, ConsistencyObjective, DistillationAxes

SCHEDULE = NoiseSchedule.scaled_linear()
STD = 0.4
PUBLISHED: dict[str, dict[str, Any]] = {
    "lcm": {
        "prediction": "eps", "skip_points": 1, "solver_steps": 1, "guidance_form": "lcm",
        "guidance_range": (4, 12),
    },
    "consistencytta": {
        "prediction": "v", "student_prediction": "x0", "grid_points": 18,
        "grid_spacing": "linspace", "skip_points": 1, "solver": "heun", "solver_steps": 1,
        "guidance_range": (0, 6), "boundary": "identity", "bottom_rule": "data",
        "top_rule": "noise", "distance": "mse", "weighting": "min_snr_x0",
    },
}  # fmt: skip
"""The axes of two systems."""


def gaussian(prediction: Prediction = "eps") -> Callable[..., Tensor]:
    """A perfect network for N(text, STD^2), of any kind of prediction."""

    def network(x_t: Tensor, t: Tensor, *, text_embeds: Tensor, **_: Any) -> Tensor:
        alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
        a, s = per_sample(alpha, x_t), per_sample(sigma, x_t)
        mean = per_sample(text_embeds[:, 0, 0], x_t)
        x_0 = (a * STD**2 * x_t + s**2 * mean) / (a**2 * STD**2 + s**2)
        return from_x_0(x_0, x_t, alpha, sigma, prediction)

    return network


def flow(x_t: Tensor, mean: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Where the exact probability flow takes x_t from t to s."""

    def spread(time: Tensor) -> Tensor:
        return per_sample(torch.hypot(SCHEDULE.alpha(time) * STD, SCHEDULE.sigma(time)), x_t)

    m = per_sample(mean, x_t)
    a, b = (per_sample(SCHEDULE.alpha(time), x_t) for time in (t, s))
    return b * m + spread(s) / spread(t) * (x_t - a * m)


def student(x_t: Tensor, t: Tensor, *, w: Tensor, text_embeds: Tensor, **_: Any) -> Tensor:
    """Some smooth function of everything that a student is given."""
    scale, shift = per_sample(1 + t / 999 + w / 7, x_t), per_sample(text_embeds[:, 0, 0], x_t)
    return torch.tanh(0.3 * scale * x_t) + 0.2 * shift


def text(*means: float) -> dict[str, Tensor]:
    """Conditions of prompts that stand for these means."""
    return {"text_embeds": torch.tensor(means, dtype=torch.float64)[:, None, None]}


def make(axes: DistillationAxes, **networks: Any) -> ConsistencyObjective:
    """An objective with a perfect teacher and one smooth student and target."""
    own = {"teacher": gaussian(axes.prediction), "student": student, "target": student}
    return ConsistencyObjective(axes, SCHEDULE, **{**own, **networks})


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers, float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draws(interval: Tensor, w: float | Tensor = 1.0, seed: int = 1) -> ConsistencyDraws:
    """Noise for these intervals at one guidance scale or each its own."""
    count = len(interval)
    w = torch.as_tensor(w, dtype=torch.float64).expand(count)
    return ConsistencyDraws(interval, w, noise(count, 3, 5, seed=seed))
