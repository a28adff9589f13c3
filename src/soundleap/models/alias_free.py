"""Periodic activation without aliasing, as in BigVGAN: twice the rate, snake, half the rate.

Both changes of rate use one filter of twelve taps. Nothing is stuffed with zeros or computed to be
thrown away: at twice the rate, the samples at even and at odd places are made, activated and
filtered apart, each by six of the taps.

Sounds are ``[B, C, 1, T]`` with channels last in memory, where depthwise convolutions over time are
fast on a CPU.

Source: Lee et al., BigVGAN (2023), section 3.2; Ziyin et al., Neural Networks Fail to Learn
Periodic Functions and How to Fix It (2020) (the snake); Karras et al., Alias-Free Generative
Adversarial Networks (2021), section 3.2 (filtered activations).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

HALF_TAPS = 6
RADIUS = HALF_TAPS - 1
"""Samples to either side that an output of `AliasFreeSnake` depends on."""


def half_band_filter() -> Tensor:
    """Return the low-pass filter: ``[12]`` float32, symmetric, of sum 1.

    A sinc of cutoff 1/4 of the higher rate under a Kaiser window for a transition of 0.6.

    Source: Kaiser and Schafer, On the Use of the I0-sinh Window (1980), for attenuation and beta.
    """
    attenuation = 2.285 * (HALF_TAPS - 1) * math.pi * 1.2 + 7.95
    beta = 0.1102 * (attenuation - 8.7)  # for attenuations above 50 dB
    window = torch.kaiser_window(2 * HALF_TAPS, periodic=False, beta=beta, dtype=torch.float64)
    time = torch.arange(-HALF_TAPS, HALF_TAPS, dtype=torch.float64) + 0.5
    taps = window * torch.sinc(0.5 * time)
    return (taps / taps.sum()).float()


def upsample(x: Tensor, even_taps: Tensor, odd_taps: Tensor) -> tuple[Tensor, Tensor]:
    """Double the rate; ends are repeated.

    Args:
        x: ``[B, C, 1, T]``.
        even_taps: ``[C, 1, 1, 6]``, every second tap of the filter from the first.
        odd_taps: the others.

    Returns:
        Samples 2p for p from -2 to T + 2, and 2p + 1 for p from -3 to T + 1, ``[B, C, 1, T + 5]``
        each; those outside 0 to T - 1 are for `downsample` to replace.
    """
    channels = x.shape[1]
    padded = pad(x, (RADIUS, RADIUS, 0, 0), mode="replicate")
    even = conv2d(padded, 2 * even_taps, groups=channels)
    return even, conv2d(padded, 2 * odd_taps, groups=channels)


def downsample(even: Tensor, odd: Tensor, even_taps: Tensor, odd_taps: Tensor) -> Tensor:
    """Halve the rate of what `upsample` gave; its arguments are changed: ends are repeated.

    Returns:
        ``[B, C, 1, T]``.
    """
    channels = even.shape[1]
    first, last = even[..., 2:3], odd[..., -3:-2]
    odd[..., :3] = first
    even[..., :2] = first
    even[..., -3:] = last
    odd[..., -2:] = last
    y = conv2d(even, odd_taps, groups=channels)
    return y.add_(conv2d(odd, even_taps, groups=channels))


def snake(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Return ``x + sin²(x · exp(alpha)) / exp(beta)``; where no gradient is asked, in place of x.

    Args:
        x: ``[B, C, 1, T]``.
        alpha: ``[C, 1, 1]``, logarithm of the frequency.
        beta: ``[C, 1, 1]``, logarithm of the inverse height.
    """
    frequency, height = alpha.exp(), (beta.exp() + 1e-9).rsqrt()
    if torch.is_grad_enabled():
        return x + (torch.sin(x * frequency) * height) ** 2
    wave = torch.mul(x, frequency).sin_().mul_(height)
    return x.addcmul_(wave, wave)


class AliasFreeSnake(nn.Module):
    """`snake` at twice the rate, with one frequency and height a channel."""

    even_taps: Tensor
    odd_taps: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        taps = half_band_filter().to(self.alpha.device)
        for name, half in (("even_taps", taps[0::2]), ("odd_taps", taps[1::2])):
            self.register_buffer(name, half.repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, 1, T]`` to the same shape, in the type of the parameters."""
        halves = upsample(x.to(self.alpha.dtype), self.even_taps, self.odd_taps)
        alpha, beta = self.alpha[:, None, None], self.beta[:, None, None]
        even, odd = (snake(half, alpha, beta) for half in halves)
        return downsample(even, odd, self.even_taps, self.odd_taps)
