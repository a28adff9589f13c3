"""Ancestral sampling: steps towards x_0 that put fresh noise in the place of some of the old."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..errors import InputError, check_range
from .denoisers import Denoise
from .sampling import SampleCallback, noise_stream
from .schedules import NoiseSchedule
from .timesteps import falling_path


def ancestral_update(
    x_t: Tensor,
    x_0: Tensor,
    t: float,
    s: float,
    schedule: NoiseSchedule,
    noise: Tensor | None,
    eta: float = 1.0,
) -> Tensor:
    """Move x_t from time t to an earlier time s, given the x_0 it leads to and fresh noise.

    x_s = alpha_s * x_0 + sqrt(sigma_s^2 - d^2) * eps + d * noise, where eps is the noise in x_t and
    d = eta * (sigma_s / sigma_t) * sqrt(1 - alpha_t^2 / alpha_s^2). With eta = 1 it is DDPM's step
    with the smaller of its variances ("fixed_small"), with eta = 0 DDIM's.

    Args:
        x_t: [B, ...] samples at time t.
        x_0: [B, ...] their clean ends.
        t: from where.
        s: to where, below t.
        schedule: the schedule that t and s belong to.
        noise: [B, ...] standard normal noise; may be None where `noise_share` is 0.
        eta: share of the fresh noise, 0 to 1.

    Raises:
        InputError: if a time or eta is out of range, or noise is missing.

    Source: Song et al. 2021 (DDIM), equations 12 and 16; Ho et al. 2020 (DDPM), equation 7.
    """
    fresh = noise_share(t, s, schedule, eta)
    alpha_t, sigma_t, alpha_s, sigma_s = _levels(t, s, schedule)
    kept = max(sigma_s**2 - fresh**2, 0.0) ** 0.5 / sigma_t
    x_s = kept * x_t + (alpha_s - alpha_t * kept) * x_0
    if fresh == 0:
        return x_s
    if noise is None:
        raise InputError(f"the step from t = {t:g} to {s:g} with eta {eta:g} needs noise")
    return x_s + fresh * noise


def noise_share(t: float, s: float, schedule: NoiseSchedule, eta: float = 1.0) -> float:
    """Give d, the level of the fresh noise in an ancestral step from t to s: 0 where s = -1.

    Raises:
        InputError: if a time or eta is out of range, or the step doesn't lead down.
    """
    check_range("eta", eta, 0, 1)
    if not s < t:
        raise InputError(f"a step leads from t = {t:g} to {s:g}; it must lead down")
    alpha_t, sigma_t, alpha_s, sigma_s = _levels(t, s, schedule)
    return eta * sigma_s / sigma_t * max(1 - (alpha_t / alpha_s) ** 2, 0.0) ** 0.5


def sample_ddpm(
    denoise: Denoise,
    x_T: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    generators: Sequence[torch.Generator] | None = None,
    *,
    eta: float = 1.0,
    lengths: Sequence[int] | None = None,
    callback_on_step_end: SampleCallback | None = None,
    noises: Iterable[Tensor] | None = None,
) -> Tensor:
    """Follow a teacher from noise to a sample by ancestral steps: DDPM's, or DDIM's with an eta.

    Noise is drawn for the steps that need it only: none for a step to -1.

    Args:
        denoise: the teacher's denoise function, guidance included; asked once a step.
        x_T: [B, ...] noise at the first timestep.
        timesteps: [n + 1] falling to -1 or 0, from `leading_timesteps` or `sampling_timesteps`.
        schedule: the teacher's schedule.
        generators: one CPU generator per sample.
        eta: share of the fresh noise: 1 is DDPM, 0 DDIM, which needs no generators.
        lengths: each sample's own size of the last dimension where a batch is padded.
        callback_on_step_end: called with the step's number, its timestep and the estimate of x_0.
        noises: [B, ...] noise for every step that needs it, in place of draws.

    Returns:
        [B, ...] samples at the path's end.

    Raises:
        InputError: for timesteps that don't fall to -1 or 0, an eta out of range, or missing
            generators or noises.

    Source: Ho et al. 2020 (DDPM), algorithm 2, on the times that are visited; Song et al. 2021
    (DDIM), equation 16 for eta.
    """
    times = falling_path("timesteps", timesteps, schedule)
    count = sum(noise_share(t, s, schedule, eta) > 0 for t, s in pairwise(times))
    draws = noise_stream(count, x_T, generators, lengths=lengths, noises=noises)
    x_t = x_T
    for step, (t, s) in enumerate(pairwise(times)):
        x_0 = denoise(x_t, torch.full((len(x_t),), t, dtype=torch.float64))
        if callback_on_step_end is not None:
            callback_on_step_end(step, t, x_0)
        noise = next(draws) if noise_share(t, s, schedule, eta) > 0 else None
        x_t = ancestral_update(x_t, x_0, t, s, schedule, noise, eta)
    return x_t


def _levels(t: float, s: float, schedule: NoiseSchedule) -> tuple[float, float, float, float]:
    times = torch.tensor([t, s], dtype=torch.float64)
    alpha, sigma = schedule.alpha(times), schedule.sigma(times)
    return float(alpha[0]), float(sigma[0]), float(alpha[1]), float(sigma[1])
