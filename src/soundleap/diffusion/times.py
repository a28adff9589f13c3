"""Times and per-sample coefficients: what the other modules agree on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError

Times = float | Sequence[float] | Tensor
"""A timestep, or several: a number, a sequence or a real tensor of at least 32 bits."""

CLEAN = -1.0
"""The time of a clean sample."""


def as_float64(name: str, value: Times) -> Tensor:
    """Give a number, sequence or real tensor as float64 on its own device.

    Raises:
        InputError: for complex, boolean and 16-bit tensors (these round timesteps), and on devices
            without float64.
    """
    if not isinstance(value, Tensor):
        return torch.as_tensor(value, dtype=torch.float64)
    if value.dtype in (torch.bool, torch.float16, torch.bfloat16) or value.is_complex():
        raise InputError(f"{name} is {value.dtype}; give float64, float32 or integers")
    if value.device.type == "mps":
        raise InputError(f"{name} is on {value.device}, which has no float64; keep it on the CPU")
    return value.to(torch.float64)


def per_sample(value: float | Tensor, like: Tensor) -> Tensor:
    """Shape a coefficient so that it multiplies samples: [B] -> [B, 1, ...], typed and placed so.

    Raises:
        InputError: unless value is one number or has one entry per sample.
    """
    if not isinstance(value, Tensor):
        return torch.as_tensor(value, dtype=like.dtype, device=like.device)
    if value.ndim > 1 or (value.ndim == 1 and len(value) not in (1, len(like))):
        raise InputError(
            f"a coefficient is {tuple(value.shape)} for samples of {tuple(like.shape)}; "
            f"give one number or [{len(like)}]"
        )
    return value.to(like.device, like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def batch_times(t: Times, like: Tensor) -> Tensor:
    """Give one float64 time per sample, [B] on the CPU.

    Raises:
        InputError: unless t is one number or has one entry per sample.
    """
    times = as_float64("t", t).cpu()
    if times.ndim > 1 or (times.ndim == 1 and len(times) not in (1, len(like))):
        raise InputError(f"t is {tuple(times.shape)}; give one number or [{len(like)}]")
    return times.reshape(-1).expand(len(like))


def extent(values: Tensor) -> str:
    """Say which values a tensor holds, for an error message."""
    if values.numel() == 1:
        return f"{float(values):g}"
    return f"{float(values.min()):g} to {float(values.max()):g}"
