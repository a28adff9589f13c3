"""Networks that predict eps, v or x_0, behind one interface: ``denoise(x_t, t) -> x_0``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..errors import InputError, check_range, unknown_name
from .schedules import NoiseSchedule
from .times import CLEAN, Times, as_float64, batch_times, per_sample

Prediction = Literal["eps", "v", "x0"]
"""What a network gives: the noise, the velocity alpha * eps - sigma * x_0, or the clean sample."""

Boundary = Literal["lcm", "identity"]
"""Boundary scalings by name: `boundary_scalings` or `identity_scalings`."""

Denoise = Callable[[Tensor, Tensor], Tensor]
"""``denoise(x_t [B, ...], t [B] float64 on the CPU) -> x_0 [B, ...]``."""


def to_x_0(
    output: Tensor,
    x_t: Tensor,
    alpha: float | Tensor,
    sigma: float | Tensor,
    prediction: Prediction,
) -> Tensor:
    """Turn a network's output into the clean sample.

    Args:
        output: [B, ...] what the network gave.
        x_t: [B, ...] what it was given.
        alpha: signal level, one number or [B], above 0.
        sigma: noise level, one number or [B].
        prediction: what the output is.

    Raises:
        InputError: for an unknown prediction.

    Source: Salimans and Ho 2022 (progressive distillation), section 4 and appendix D.
    """
    check_prediction(prediction)
    if prediction == "x0":
        return output
    a, s = per_sample(alpha, x_t), per_sample(sigma, x_t)
    return (x_t - s * output) / a if prediction == "eps" else a * x_t - s * output


def to_eps(
    output: Tensor,
    x_t: Tensor,
    alpha: float | Tensor,
    sigma: float | Tensor,
    prediction: Prediction,
) -> Tensor:
    """Turn a network's output into the noise; arguments as for `to_x_0`.

    Raises:
        InputError: for an unknown prediction, and for x0 where sigma is 0.

    Source: Salimans and Ho 2022 (progressive distillation), appendix D.
    """
    check_prediction(prediction)
    if prediction == "eps":
        return output
    a, s = per_sample(alpha, x_t), per_sample(sigma, x_t)
    if prediction == "v":
        return a * output + s * x_t
    _refuse_zero(sigma)
    return (x_t - a * output) / s


def from_x_0(
    x_0: Tensor,
    x_t: Tensor,
    alpha: float | Tensor,
    sigma: float | Tensor,
    prediction: Prediction,
) -> Tensor:
    """Give the output for which `to_x_0` gives x_0: its inverse.

    Raises:
        InputError: for an unknown prediction, and for eps and v where sigma is 0.
    """
    check_prediction(prediction)
    if prediction == "x0":
        return x_0
    _refuse_zero(sigma)
    a, s = per_sample(alpha, x_t), per_sample(sigma, x_t)
    return (x_t - a * x_0) / s if prediction == "eps" else (a * x_t - x_0) / s


def convert_output(
    output: Tensor,
    x_t: Tensor,
    alpha: float | Tensor,
    sigma: float | Tensor,
    source: Prediction,
    prediction: Prediction,
) -> Tensor:
    """Turn a network's output from one kind of prediction into another, by way of x_0.

    Nothing is computed where both are the same.

    Raises:
        InputError: for an unknown prediction, and for eps and v where sigma is 0.
    """
    if source == prediction:
        return output
    x_0 = to_x_0(output, x_t, alpha, sigma, source)
    return from_x_0(x_0, x_t, alpha, sigma, prediction)


def training_target(
    x_0: Tensor,
    eps: Tensor,
    alpha: float | Tensor,
    sigma: float | Tensor,
    prediction: Prediction,
) -> Tensor:
    """Give what a network has to predict for x_t = alpha * x_0 + sigma * eps.

    Raises:
        InputError: for an unknown prediction.
    """
    check_prediction(prediction)
    if prediction == "v":
        return per_sample(alpha, x_0) * eps - per_sample(sigma, x_0) * x_0
    return eps if prediction == "eps" else x_0


@dataclass(frozen=True, eq=False)
class NetworkDenoiser:
    """A network as a denoise function.

    The network is called as ``network(x_t, t, **conditions)`` with t [B] float32 timesteps on the
    device of x_t. At t = -1 the answer is x_t itself, whatever the network says.

    Attributes:
        network: the network.
        schedule: the schedule it was trained on.
        prediction: what it gives.
        conditions: keywords for every call; add some with `bind`.
    """

    network: Callable[..., Tensor]
    schedule: NoiseSchedule
    prediction: Prediction
    conditions: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        check_prediction(self.prediction)

    def bind(self, **conditions: Any) -> NetworkDenoiser:
        """Give the same denoiser with these conditions added to those it has (new ones win)."""
        return replace(self, conditions={**self.conditions, **conditions})

    def __call__(self, x_t: Tensor, t: Times) -> Tensor:
        """Give the network's estimate of the clean sample.

        Args:
            x_t: [B, ...] noisy samples.
            t: one time, or [B] one per sample, in [-1, T-1].

        Raises:
            InputError: if t is out of range.
        """
        times = batch_times(t, x_t)
        alpha, sigma = self.schedule.alpha(times), self.schedule.sigma(times)
        labels = times.to(torch.float32).to(x_t.device)
        output = self.network(x_t, labels, **self.conditions).to(x_t.dtype)
        x_0 = to_x_0(output, x_t, alpha, sigma, self.prediction)
        clean = times == CLEAN
        return torch.where(per_sample(clean, x_t).bool(), x_t, x_0) if bool(clean.any()) else x_0


def boundary_scalings(
    t: Times, sigma_data: float = 0.5, timestep_scaling: float = 10.0
) -> tuple[Tensor, Tensor]:
    """Give c_skip and c_out of LCM, float64 like t: (1, 0) for t <= 0, nearly (0, 1) above 1.

    With tau = timestep_scaling * max(t, 0): c_skip = sigma_data^2 / (tau^2 + sigma_data^2) and
    c_out = tau / sqrt(tau^2 + sigma_data^2).

    Raises:
        InputError: unless sigma_data and timestep_scaling are positive.

    Source: Luo et al. 2023 (LCM), section 4.1, with the numbers of the released code.
    """
    check_range("sigma_data", sigma_data, 1e-6, 1e6)
    check_range("timestep_scaling", timestep_scaling, 1e-6, 1e6)
    tau = timestep_scaling * as_float64("t", t).clamp(min=0)
    square = tau**2 + sigma_data**2
    return sigma_data**2 / square, tau * square.rsqrt()


def identity_scalings(t: Times) -> tuple[Tensor, Tensor]:
    """Give c_skip = 0 and c_out = 1, float64 like t: the denoised sample is the answer.

    Source: Bai et al. 2024 (ConsistencyTTA).
    """
    zeros = torch.zeros_like(as_float64("t", t))
    return zeros, zeros + 1


@dataclass(frozen=True)
class ConsistencyFunction:
    """f(x_t, t) = c_skip(t) * x_t + c_out(t) * denoise(x_t, t).

    Attributes:
        denoise: the denoise function underneath.
        boundary: "lcm" makes f the identity for t <= 0; "identity" adds nothing to the denoiser.
        sigma_data: for "lcm" only.
        timestep_scaling: for "lcm" only.

    Source: Song et al. 2023 (consistency models), equation 5.
    """

    denoise: Denoise
    boundary: Boundary = "lcm"
    sigma_data: float = 0.5
    timestep_scaling: float = 10.0

    def __post_init__(self) -> None:
        if self.boundary not in get_args(Boundary):
            raise unknown_name("boundary", self.boundary, get_args(Boundary))

    def __call__(self, x_t: Tensor, t: Times) -> Tensor:
        """Give the clean end of the trajectory through x_t [B, ...] at t, one number or [B]."""
        times = batch_times(t, x_t)
        x_0 = self.denoise(x_t, times)
        if self.boundary == "identity":
            return x_0
        c_skip, c_out = boundary_scalings(times, self.sigma_data, self.timestep_scaling)
        return per_sample(c_skip, x_t) * x_t + per_sample(c_out, x_t) * x_0


def check_prediction(prediction: str) -> None:
    """Raise `InputError` unless this is a known kind of prediction."""
    if prediction not in get_args(Prediction):
        raise unknown_name("prediction", prediction, get_args(Prediction))


def _refuse_zero(sigma: float | Tensor) -> None:
    if bool((torch.as_tensor(sigma) == 0).any()):
        raise InputError("sigma is 0: a clean sample holds no noise to predict; use t above -1")
