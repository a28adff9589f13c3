"""Classifier-free guidance, and guidance as an input of the network.

The guidance scale w is always in the classifier-free convention: 0 is the unconditional sample, 1
the conditional one, more exaggerates the condition. LCM-trained systems count one less
(`cfg_to_lcm`).
A negative prompt is nothing special: its conditions take the place of the empty prompt's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..errors import InputError, check_range
from .denoisers import Denoise, NetworkDenoiser
from .times import per_sample

_Number = TypeVar("_Number", float, Tensor)


def cfg(cond: Tensor, uncond: Tensor, w: float | Tensor) -> Tensor:
    """Give uncond + w * (cond - uncond).

    The same whether applied to eps, v or x_0 at one (x_t, t), since the weights sum to 1.

    Args:
        cond: [B, ...] with the condition.
        uncond: [B, ...] without it, or with the negative one.
        w: guidance scale, one number or [B].

    Raises:
        InputError: if the shapes differ.

    Source: Ho and Salimans 2022 (classifier-free guidance), equation 6 with w counted from 0.
    """
    if cond.shape != uncond.shape:
        raise InputError(f"cond is {tuple(cond.shape)} but uncond {tuple(uncond.shape)}")
    return uncond + per_sample(w, cond) * (cond - uncond)


def guided_denoise(denoise_cond: Denoise, denoise_uncond: Denoise, w: float | Tensor) -> Denoise:
    """Make the guided denoise function of two, each asked once; w is one number or [B]."""

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        return cfg(denoise_cond(x_t, t), denoise_uncond(x_t, t), w)

    return denoise


def batched_guidance(
    network_denoiser: NetworkDenoiser,
    conditions: Mapping[str, Any],
    negative_conditions: Mapping[str, Any],
    w: float | Tensor,
) -> Denoise:
    """Make a guided denoise function that asks the network once, with both halves in one batch.

    The batch is [negative; positive], 2B samples.

    Args:
        network_denoiser: the denoiser; conditions bound to it already must not be per sample.
        conditions: keywords of the network: tensors [B, ...], or None.
        negative_conditions: the same keywords for the empty or negative prompt; [1, ...] will do.
        w: guidance scale, one number or [B].

    Raises:
        InputError: if the two sets differ in names or shapes; pad texts to one length first.
    """
    if conditions.keys() != negative_conditions.keys():
        raise InputError(
            f"conditions are {sorted(conditions)} but negative ones {sorted(negative_conditions)}; "
            "give the same names"
        )
    both = {
        name: _stack(name, negative_conditions[name], value) for name, value in conditions.items()
    }
    bound = network_denoiser.bind(**both)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        uncond, cond = bound(torch.cat([x_t, x_t]), torch.cat([t, t])).chunk(2)
        return cfg(cond, uncond, w)

    return denoise


def lcm_to_cfg(w: _Number) -> _Number:
    """Turn LCM's guidance scale into the classifier-free one: w + 1.

    Source: Luo et al. 2023 (LCM), section 4.2.
    """
    return w + 1


def cfg_to_lcm(w: _Number) -> _Number:
    """Turn the classifier-free guidance scale into LCM's: w - 1."""
    return w - 1


def sinusoidal_embedding(
    values: Tensor,
    dim: int,
    *,
    scale: float = 1.0,
    cos_first: bool = True,
    freq_shift: int = 0,
    max_period: float = 10000.0,
) -> Tensor:
    """Embed timesteps or guidance scales as sines and cosines of falling frequency.

    The angles are scale * value * max_period^(-i / (half - freq_shift)) for i = 0..half-1, with
    half = dim // 2; an odd dim ends with a zero. Computed in float32, as the published systems do:
    their networks were trained on these numbers, rounding included.

    Args:
        values: [B].
        dim: width of the embedding, at least 4.
        scale: factor on the values.
        cos_first: cosines before sines, or after.
        freq_shift: 0, or 1 to make the last frequency exactly 1 / max_period.
        max_period: slowest period over 2 pi.

    Returns:
        [B, dim] float32.

    Raises:
        InputError: for values that are not [B], or a dim below 4.

    Source: Vaswani et al. 2017, section 3.5.
    """
    check_range("dim", dim, 4, 1_000_000)
    if values.ndim != 1:
        raise InputError(f"values is {tuple(values.shape)}; needed: [B]")
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float32, device=values.device)
    frequencies = torch.exp(steps * (-math.log(max_period) / (half - freq_shift)))
    angles = (scale * values.to(torch.float32))[:, None] * frequencies
    sines, cosines = angles.sin(), angles.cos()
    parts = [cosines, sines] if cos_first else [sines, cosines]
    return torch.cat([*parts, *([torch.zeros_like(angles[:, :1])] if dim % 2 else [])], dim=1)


def guidance_embedding(w_lcm: Tensor, dim: int = 256) -> Tensor:
    """Embed LCM's guidance scale as LCM and AudioLCM do: [B] -> [B, dim] float32.

    Args:
        w_lcm: [B] guidance in LCM's convention (see `cfg_to_lcm`).
        dim: width of the embedding.

    Source: Luo et al. 2023 (LCM), the released embedding of w.
    """
    return sinusoidal_embedding(w_lcm, dim, scale=1000.0, cos_first=False, freq_shift=1)


def fourier_features(values: Tensor, frequencies: Tensor) -> Tensor:
    """Embed guidance scales by stored frequencies: cos and sin of 2 pi * value * frequency.

    Args:
        values: [B], for ConsistencyTTA w in the classifier-free convention; in float64 the angles
            are computed so, as the original does for one number for all.
        frequencies: [F], drawn once and kept with the weights in float32.

    Returns:
        [B, 2 F] float32, cosines first.

    Raises:
        InputError: unless values is [B] and frequencies [F].

    Source: Tancik et al. 2020 (Fourier features); Bai et al. 2024 (ConsistencyTTA).
    """
    if values.ndim != 1 or frequencies.ndim != 1:
        raise InputError(
            f"values is {tuple(values.shape)} and frequencies {tuple(frequencies.shape)}; "
            "needed: [B] and [F]"
        )
    precise = torch.promote_types(values.dtype, torch.float32)
    angles = values.to(precise)[:, None] * frequencies.float() * (2 * math.pi)
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()


def _stack(name: str, negative: Any, positive: Any) -> Any:
    if negative is None and positive is None:
        return None
    if not isinstance(negative, Tensor) or not isinstance(positive, Tensor):
        raise InputError(f"condition {name!r} must be a tensor in both halves, or None in both")
    if len(negative) == 1:
        negative = negative.expand(len(positive), *negative.shape[1:])
    if negative.shape != positive.shape:
        raise InputError(
            f"condition {name!r} is {tuple(positive.shape)} but {tuple(negative.shape)} in the "
            "negative half; pad both to one length"
        )
    return torch.cat([negative, positive])
