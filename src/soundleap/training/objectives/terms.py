"""What the objectives share: a record of queries, distances, and weights by time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from soundleap.diffusion.denoisers import Denoise, NetworkDenoiser
from soundleap.diffusion.guidance import batched_guidance
from soundleap.diffusion.schedules import NoiseSchedule
from soundleap.diffusion.times import Times, per_sample

Network = Callable[..., Tensor]
"""``network(x_t [B, ...], t [B] float32, **conditions) -> [B, ...]``: the networks' common call."""

Conditions = Mapping[str, Any]
"""Keywords of a network but for w: ``text_embeds``, ``text_mask``, maybe ``latent_mask``."""

LatentDistance = Literal["huber", "mse"]
Distance = Literal["huber", "mse", "mel", "stft"]
Weighting = Literal["none", "min_snr_x0", "min_snr_eps", "min_snr_v"]
TopRule = Literal["data", "noise", "unit_noise"]


@dataclass(frozen=True)
class Query:
    """One call of a network: what it was asked, and its output before any conversion.

    Of a guided teacher both halves: ``[2B, ...]``, the negative prompt's first.
    """

    x_t: Tensor
    t: Tensor
    output: Tensor


@dataclass(frozen=True)
class Recorder:
    """A network that remembers what it was asked."""

    network: Network
    queries: list[Query] = field(default_factory=list[Query])

    def __call__(self, x_t: Tensor, t: Tensor, **conditions: Any) -> Tensor:
        """Ask the network."""
        output = self.network(x_t, t, **conditions)
        self.queries.append(Query(x_t, t, output.detach()))
        return output


def guided(
    denoiser: NetworkDenoiser,
    positive: Conditions,
    negative: Conditions,
    w: Tensor,
    *,
    unguided: bool = False,
) -> Denoise:
    """Return a teacher's guided denoise function; both halves of a query go in one batch.

    With `unguided` (w is 1 for all) the negative half is not asked.

    Raises:
        InputError: if the conditions do not fit each other.
    """
    if unguided:
        return denoiser.bind(**positive)
    return batched_guidance(denoiser, positive, negative, w)


def item_distance(
    ours: Tensor,
    aim: Tensor,
    distance: LatentDistance = "mse",
    huber_c: float = 1e-3,
    mask: Tensor | None = None,
) -> Tensor:
    """Return the distance of each item, averaged over its elements, ``[B]``.

    Args:
        ours: ``[B, ...]``.
        aim: the same shape.
        distance: "mse" is d^2; "huber" is sqrt(d^2 + c^2) - c.
        huber_c: that c.
        mask: ``[B, L]`` over the dimension after the channels, True where an element counts; None:
            all count.

    Source: Song and Dhariwal, Improved Techniques for Training Consistency Models (2023), eq. 7.
    """
    precise = torch.promote_types(ours.dtype, torch.float32)
    square = (ours.to(precise) - aim.to(precise)) ** 2
    if distance == "huber":
        square = torch.sqrt(square + huber_c**2) - huber_c
    return item_mean(square, mask)


def item_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Average ``[B, C, L, ...]`` over all but the first dimension, ``[B]``; mask ``[B, L]``."""
    if mask is None:
        return values.flatten(1).mean(1)
    weights = shape_mask(mask, values)
    inner, rows = tuple(range(1, values.ndim)), values[0, :, 0].numel()
    return (values * weights).sum(inner) / (weights.sum(inner) * rows)


def shape_mask(mask: Tensor, like: Tensor) -> Tensor:
    """Give ``[B, L]`` as zeros and ones that multiply ``[B, C, L, ...]``."""
    return mask.reshape(len(mask), 1, -1, *[1] * (like.ndim - 3)).to(like.dtype)


def snr_weight(
    schedule: NoiseSchedule, t: Times, weighting: Weighting, gamma: float = 5.0
) -> Tensor:
    """Return the weight of items at times t, float64 like t.

    With SNR = alpha^2 / sigma^2 and m = min(SNR, gamma): "min_snr_x0" is m, "min_snr_eps" m / SNR
    and "min_snr_v" m / (SNR + 1): one weighting, for losses on x_0, on eps and on v. "none" is 1.
    An infinite gamma leaves SNR, 1 and SNR / (SNR + 1).

    Raises:
        InputError: for t out of range.

    Source: Hang et al., Efficient Diffusion Training via Min-SNR Weighting (2023), section 3.4. As
    released: TANGO takes "min_snr_eps", ConsistencyTTA's first stage "min_snr_v", its second
    "min_snr_x0", all with 5.
    """
    snr = schedule.sigma_ve(t) ** -2
    if weighting == "none":
        return torch.ones_like(snr)
    clipped = snr.clamp(max=gamma)
    divisor = {"min_snr_x0": torch.ones_like(snr), "min_snr_eps": snr, "min_snr_v": snr + 1}
    return clipped / divisor[weighting]


def noisy(
    schedule: NoiseSchedule, x_0: Tensor, eps: Tensor, t: Tensor, top: float, rule: TopRule
) -> Tensor:
    """Return x_t = alpha x_0 + sigma eps, but by the rule at the top.

    Args:
        schedule: the noise schedule.
        x_0: ``[B, ...]`` clean latents.
        eps: noise of that shape.
        t: ``[B]`` times.
        top: the time to which the rule applies.
        rule: "data": none; "noise": sigma eps, as ConsistencyTTA starts its largest level;
            "unit_noise": eps, as samplers start.
    """
    x_t = schedule.add_noise(x_0, eps, t)
    if rule == "data":
        return x_t
    noise = eps if rule == "unit_noise" else per_sample(schedule.sigma(t), eps) * eps
    return torch.where(per_sample(t == top, x_0).bool(), noise, x_t)
