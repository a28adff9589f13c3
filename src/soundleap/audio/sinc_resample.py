"""Resampling by a windowed sinc, as gradients can pass through it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from soundleap.errors import InputError

ZERO_CROSSINGS = 64
ROLLOFF = 0.9475937167399596
BETA = 14.769656459379492
"""As ConsistencyTTA goes from 16 to 48 kHz (the numbers of librosa's "kaiser_best")."""


def sinc_resample(waveform: Tensor, rate: int, new_rate: int) -> Tensor:
    """Resample with a sinc of 64 zero crossings a side under a Kaiser window.

    Output sample n is the sum over k of x[k] h(n / new_rate - k / rate), with h of a cutoff of
    `ROLLOFF` times half the lower of both rates; silence lies before and after.

    Args:
        waveform: ``[B, S]``.
        rate: of it, in Hz.
        new_rate: wanted, in Hz.

    Returns:
        ``[B, ceil(S * new_rate / rate)]``, differentiable in the waveform.

    Raises:
        InputError: for another shape, or a rate below 1.

    Source: Smith, Digital Audio Resampling (2002), with the window of Kaiser (1974).
    """
    if waveform.ndim != 2 or rate < 1 or new_rate < 1:
        raise InputError(
            f"waveform is {tuple(waveform.shape)}, rates {rate} and {new_rate}; needed: [B, S] "
            "and rates from 1"
        )
    common = math.gcd(rate, new_rate)
    old, new = rate // common, new_rate // common
    if old == new:
        return waveform
    filters, side = _filters(old, new)
    padded = functional.pad(waveform[:, None], (side, side + old))
    phases = functional.conv1d(padded, filters.to(waveform), stride=old)  # [B, new, S / old]
    wanted = -(-waveform.shape[1] * new // old)
    return phases.transpose(1, 2).flatten(1)[:, :wanted]


def _filters(old: int, new: int) -> tuple[Tensor, int]:
    """Return one filter for each output phase, ``[new, 1, taps]``, and its reach to the left."""
    cutoff = min(old, new) * ROLLOFF / old  # of half the old rate
    side = math.ceil(ZERO_CROSSINGS / cutoff)
    places = torch.arange(-side, side + old, dtype=torch.float64)
    shifts = torch.arange(new, dtype=torch.float64)[:, None] * old / new
    time = ((places - shifts) * cutoff).clamp(-ZERO_CROSSINGS, ZERO_CROSSINGS)
    inside = torch.sqrt(1 - (time / ZERO_CROSSINGS) ** 2)
    window = torch.special.i0(BETA * inside) / torch.special.i0(
        torch.tensor(BETA, dtype=torch.float64)
    )
    return (cutoff * torch.sinc(time) * window)[:, None], side
