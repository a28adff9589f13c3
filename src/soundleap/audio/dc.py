"""What ConsistencyTTA does to a vocoder's output: its offset removed, then 16-bit numbers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from soundleap.errors import InputError


def remove_dc(waveform: Tensor, per: Literal["clip", "batch"] = "clip") -> Tensor:
    """Subtract the middle between the highest and the lowest sample.

    Args:
        waveform: ``[B, S]`` or ``[B, C, S]``.
        per: "clip" takes each clip's own middle; "batch" that of all clips together, as the
            published code does, so that a clip depends on its neighbours.

    Raises:
        InputError: for another `per` or another shape.

    Source: Bai et al., ConsistencyTTA (2024), released code.
    """
    if per not in ("clip", "batch"):
        raise InputError(f"per is {per!r}; allowed: 'clip' or 'batch'")
    if waveform.ndim not in (2, 3) or not waveform.numel():
        raise InputError(f"waveform is {tuple(waveform.shape)}; needed: [B, S] or [B, C, S]")
    axes = tuple(range(1 if per == "clip" else 0, waveform.ndim))
    highest, lowest = waveform.amax(axes, keepdim=True), waveform.amin(axes, keepdim=True)
    return waveform - (highest + lowest) / 2


def to_int16(waveform: Tensor) -> Tensor:
    """Give the 16-bit numbers of the published systems: 32768 times the sample, cut towards zero.

    For comparisons only. A sample of exactly 1 becomes -32768, as it does there; writing a file
    (`audio.io`) rounds and never wraps.

    Args:
        waveform: any shape, within [-1, 1].

    Returns:
        int16, of the same shape.

    Raises:
        InputError: for samples beyond [-1, 1] or not finite.
    """
    if not bool((waveform.abs() <= 1.0).all()):  # also catches NaN
        raise InputError("waveform has samples beyond [-1, 1] or not finite; scale it down first")
    return (waveform.double() * 32768.0).to(torch.int32).to(torch.int16)
