"""Solvers of the probability-flow ODE: free functions over a denoise function.

Every solver here forms an estimate of x_0 and then moves along the straight line in
variance-exploding coordinates that leads to it (`ddim_update`). They differ only in the estimate.
Each batch item may take its own step (t and s are one number or [B]), and a step to s = -1 gives
the clean sample.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..errors import InputError, check_range, unknown_name
from .denoisers import Denoise
from .schedules import NoiseSchedule
from .times import CLEAN, Times, as_float64, batch_times, per_sample

Solver = Literal["ddim", "heun", "dpmpp_2m"]
"""A solver by name."""

StepCallback = Callable[[int, Tensor, Tensor], None]
"""``callback(step_index, t, x_0)``: after a step that started at t; may stop the run by raising."""


class Estimate(NamedTuple):
    """What the last step knew, for solvers that look back.

    Attributes:
        x_0: [B, ...] the denoise function's answer.
        t: [B] float64, where it was asked.
    """

    x_0: Tensor
    t: Tensor


def ddim_update(x_t: Tensor, x_0: Tensor, t: Times, s: Times, schedule: NoiseSchedule) -> Tensor:
    """Move x_t from time t to time s, given the clean sample x_0 it leads to.

    x_s = alpha_s * x_0 + sigma_s * eps with eps = (x_t - alpha_t * x_0) / sigma_t. A step with
    s = t leaves x_t exactly as it is.

    Raises:
        InputError: if a time is out of range, or a step leaves t = -1.

    Source: Song et al. 2021 (DDIM), equation 12 with sigma = 0.
    """
    t, s = _step_times(x_t, t, s)
    ratio = schedule.sigma(s) / schedule.sigma(t)
    ratio = torch.where(t == s, 1.0, ratio)  # also for a sample that stays clean
    x_0_weight = schedule.alpha(s) - schedule.alpha(t) * ratio
    return per_sample(ratio, x_t) * x_t + per_sample(x_0_weight, x_t) * x_0


def ddim_step(denoise: Denoise, x_t: Tensor, t: Times, s: Times, schedule: NoiseSchedule) -> Tensor:
    """Take one DDIM step from t to s: Euler's method in variance-exploding coordinates, order 1.

    Args:
        denoise: the denoise function; asked once.
        x_t: [B, ...] samples at time t.
        t: from where; one number or [B].
        s: to where; one number or [B].
        schedule: the schedule that t and s belong to.

    Raises:
        InputError: if a time is out of range, or a step leaves t = -1.

    Source: Song et al. 2021 (DDIM), equation 12 with sigma = 0.
    """
    return ddim_update(x_t, denoise(x_t, batch_times(t, x_t)), t, s, schedule)


def heun_step(denoise: Denoise, x_t: Tensor, t: Times, s: Times, schedule: NoiseSchedule) -> Tensor:
    """Take one Heun step in variance-exploding coordinates, order 2; arguments as for `ddim_step`.

    The denoise function is asked twice. Where s = -1 the slope at s does not exist and the step is
    Euler's.

    Raises:
        InputError: if a time is out of range, or a step leaves t = -1.

    Source: Karras et al. 2022 (EDM), algorithm 1.
    """
    x_0, _ = _heun_estimate(denoise, x_t, *_step_times(x_t, t, s), schedule, None)
    return ddim_update(x_t, x_0, t, s, schedule)


def dpmpp_2m_step(
    denoise: Denoise,
    x_t: Tensor,
    t: Times,
    s: Times,
    schedule: NoiseSchedule,
    history: Estimate | None = None,
) -> tuple[Tensor, Estimate]:
    """Take one DPM-Solver++(2M) step, order 2 from the second on; asks the denoise function once.

    Args:
        denoise: the denoise function.
        x_t: [B, ...] samples at time t.
        t: from where; one number or [B].
        s: to where; one number or [B].
        schedule: the schedule that t and s belong to.
        history: what the previous step returned; None for the first step, which is DDIM's. A step
            to s = -1 is DDIM's as well.

    Returns:
        x_s and the history for the next step.

    Raises:
        InputError: if a time is out of range, or a step leaves t = -1.

    Source: Lu et al. 2022 (DPM-Solver++), algorithm 2.
    """
    x_0, history = _dpmpp_2m_estimate(denoise, x_t, *_step_times(x_t, t, s), schedule, history)
    return ddim_update(x_t, x_0, t, s, schedule), history


def solve(
    denoise: Denoise,
    x_t: Tensor,
    path: Tensor,
    schedule: NoiseSchedule,
    solver: Solver = "ddim",
    callback: StepCallback | None = None,
) -> Tensor:
    """Follow the probability flow along a path of times and give the sample at its end.

    Args:
        denoise: the denoise function.
        x_t: [B, ...] samples at the path's first time.
        path: [m + 1] times, or [m + 1, B] with each sample's own; each runs one way, up or down.
        schedule: the schedule that the times belong to.
        solver: its name.
        callback: called after every step with its number, its start t [B] and the estimate of x_0.

    Returns:
        [B, ...] samples at the path's last time.

    Raises:
        InputError: for an unknown solver, or a path that is malformed, out of range or leaves -1.
    """
    if solver not in _ESTIMATES:
        raise unknown_name("solver", solver, _ESTIMATES)
    times = _check_path(path, x_t, schedule)
    history: Estimate | None = None
    for step, (t, s) in enumerate(pairwise(times)):
        x_0, history = _ESTIMATES[solver](denoise, x_t, t, s, schedule, history)
        x_t = ddim_update(x_t, x_0, t, s, schedule)
        if callback is not None:
            callback(step, t, x_0)
    return x_t


def walk_path(t: Times, s: Times, solver_steps: int) -> Tensor:
    """Divide the way from t to s into equal steps in t.

    Args:
        t: from where; one number or [B].
        s: to where; one number or [B].
        solver_steps: how many steps m; 1 jumps the interval, more walk it.

    Returns:
        [m + 1, B] float64 on the CPU ([m + 1, 1] for two numbers), exactly t and s at its ends.

    Raises:
        InputError: unless solver_steps is at least 1 and t and s have one size.
    """
    check_range("solver_steps", solver_steps, 1, 1_000_000)
    start, end = (as_float64("t", value).cpu().reshape(-1) for value in (t, s))
    if len(start) != len(end) and 1 not in (len(start), len(end)):
        raise InputError(f"t has {len(start)} entries but s {len(end)}; make them equal")
    size = max(len(start), len(end))
    start, end = start.expand(size), end.expand(size)
    share = torch.arange(solver_steps + 1, dtype=torch.float64)[:, None] / solver_steps
    return torch.cat([torch.lerp(start, end, share[:-1]), end[None]])


def _ddim_estimate(
    denoise: Denoise,
    x_t: Tensor,
    t: Tensor,
    s: Tensor,
    schedule: NoiseSchedule,
    history: Estimate | None,
) -> tuple[Tensor, Estimate | None]:
    return denoise(x_t, t), None


def _heun_estimate(
    denoise: Denoise,
    x_t: Tensor,
    t: Tensor,
    s: Tensor,
    schedule: NoiseSchedule,
    history: Estimate | None,
) -> tuple[Tensor, Estimate | None]:
    """Aim at x_0 + (x_0' - x_0) * sigma_ve(t) / (2 * sigma_ve(s)): the mean of both slopes."""
    x_0 = denoise(x_t, t)
    clean = s == CLEAN
    if bool(clean.all()):
        return x_0, None
    x_s = ddim_update(x_t, x_0, t, s, schedule)
    # Items that end clean ask again at t, so that no network is asked where it was never trained.
    again = per_sample(clean, x_t).bool()
    x_0_at_s = denoise(torch.where(again, x_t, x_s), torch.where(clean, t, s))
    ratio = schedule.sigma_ve(t) / schedule.sigma_ve(s)
    weight = torch.where(clean, 0.0, ratio / 2)
    return x_0 + per_sample(weight, x_t) * (x_0_at_s - x_0), None


def _dpmpp_2m_estimate(
    denoise: Denoise,
    x_t: Tensor,
    t: Tensor,
    s: Tensor,
    schedule: NoiseSchedule,
    history: Estimate | None,
) -> tuple[Tensor, Estimate]:
    """Extrapolate x_0 linearly in log sigma_ve to the middle of the step."""
    x_0 = denoise(x_t, t)
    now = Estimate(x_0, t)
    if history is None:
        return x_0, now
    step = schedule.log_snr(s) - schedule.log_snr(t)
    last_step = schedule.log_snr(t) - schedule.log_snr(history.t)
    weight = torch.where((s == CLEAN) | (t == s) | (last_step == 0), 0.0, step / (2 * last_step))
    return x_0 + per_sample(weight, x_t) * (x_0 - history.x_0), now


_ESTIMATES: dict[str, Callable[..., tuple[Tensor, Estimate | None]]] = {
    "ddim": _ddim_estimate,
    "heun": _heun_estimate,
    "dpmpp_2m": _dpmpp_2m_estimate,
}


def _step_times(x_t: Tensor, t: Times, s: Times) -> tuple[Tensor, Tensor]:
    """Give t and s as [B] float64 on the CPU, and refuse a step that leaves the clean end."""
    start, end = batch_times(t, x_t), batch_times(s, x_t)
    if bool(((start == CLEAN) & (end != CLEAN)).any()):
        raise InputError(
            "a step starts at t = -1, where no noise is left to follow; start at t >= 0"
        )
    return start, end


def _check_path(path: Tensor, x_t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Give the path as [m + 1, B] float64 on the CPU."""
    times = schedule.check_times(path).cpu()
    times = times[:, None] if times.ndim == 1 else times
    if times.ndim != 2 or len(times) < 2 or times.shape[1] not in (1, len(x_t)):
        raise InputError(
            f"path is {tuple(path.shape)}; needed: [m + 1] or [m + 1, {len(x_t)}] times with m >= 1"
        )
    steps = times.diff(dim=0)
    if not bool(((steps <= 0).all(0) | (steps >= 0).all(0)).all()):
        raise InputError("path turns around; let each sample's times only fall, or only rise")
    return times.expand(-1, len(x_t))
