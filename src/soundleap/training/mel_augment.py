"""Changes of log-mels that a caption survives; every draw comes from the generator given."""

from __future__ import annotations

import torch
from torch import Tensor

from soundleap.models.seams import LatentCodec

FLOOR = -5.0
"""Logarithm of the front-end's floor."""
MAX_SHIFT = 2
MAX_TILT = 0.25
MAX_GAIN = 0.4
TIME_MASKS, BIN_MASKS = 2, 2
TIME_SHARE, BIN_COUNT = 0.12, 10


def crop(mel: Tensor, frames: int, generator: torch.Generator, tries: int = 3) -> Tensor:
    """Cut ``[M, F]`` to at most `frames`, at the loudest of a few places drawn."""
    last = mel.shape[1] - frames
    if last <= 0:
        return mel
    starts = torch.randint(last + 1, (tries,), generator=generator).tolist()
    energy = (10.0 ** (2.0 * mel)).sum(0).cumsum(0)
    start = max(starts, key=lambda s: float(energy[s + frames - 1] - energy[s]))
    return mel[:, start : start + frames]


def add_mels(a: Tensor, b: Tensor) -> Tensor:
    """Give the log-mel of two sounds at once, their powers added: both ``[M, F]``."""
    return 0.5 * torch.log10(10.0 ** (2.0 * a) + 10.0 ** (2.0 * b))


def together(a: Tensor, b: Tensor, level_in_db: float, generator: torch.Generator) -> Tensor:
    """Put the shorter of two sounds ``[M, F]`` into the other one; b is scaled first."""
    b = b + level_in_db / 20.0
    long, short = (a, b) if a.shape[1] >= b.shape[1] else (b, a)
    start = int(torch.randint(long.shape[1] - short.shape[1] + 1, (), generator=generator))
    mixed = long.clone()
    place = mixed[:, start : start + short.shape[1]]
    place.copy_(add_mels(place, short))
    return mixed


def change_colour(mel: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by up to 2 bins, tilt the spectrum and change the gain: ``[B, M, F]``."""
    batch, bins, _ = mel.shape
    shift = torch.randint(-MAX_SHIFT, MAX_SHIFT + 1, (batch, 1), generator=generator)
    index = (torch.arange(bins) + shift).clamp(0, bins - 1)
    shifted = mel.gather(1, index[..., None].expand(-1, -1, mel.shape[2]))
    tilt, gain = 2 * torch.rand(2, batch, 1, 1, generator=generator) - 1
    slope = torch.linspace(-1.0, 1.0, bins)[:, None]
    return (shifted + MAX_TILT * tilt * slope + MAX_GAIN * gain).clamp_min(FLOOR)


@torch.no_grad()
def through_codec(
    mel: Tensor, codec: LatentCodec, share: float, generator: torch.Generator
) -> Tensor:
    """Replace a share of the items by what the codec makes of them: ``[B, M, F]``."""
    noise = torch.randn(mel.shape, generator=generator)
    chosen = torch.rand(len(mel), generator=generator) < share
    if not bool(chosen.any()):
        return mel
    decoded = codec.decode(codec.encode(mel[chosen]), noise[chosen] if codec.draws_noise else None)
    mel = mel.clone()
    mel[chosen] = decoded
    return mel


def hide(mel: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
    """Put the item's mean in place of some frames and bins: ``[B, M, F]``, `mask` ``[B, F]``.

    Source: Park et al. 2019, "SpecAugment".
    """
    batch, bins, frames = mel.shape
    lengths = mask.sum(1)
    draws = torch.rand(4, batch, TIME_MASKS, 1, generator=generator)
    width = draws[0] * TIME_SHARE * lengths[:, None, None]
    begin = draws[1] * (lengths[:, None, None] - width)
    time = torch.arange(frames)
    gone = ((time >= begin) & (time < begin + width)).any(1)[:, None, :]
    height = draws[2] * BIN_COUNT
    low = draws[3] * (bins - height)
    row = torch.arange(bins)
    gone = gone | ((row >= low) & (row < low + height)).any(1)[:, :, None]
    mean = (mel.mean(1) * mask).sum(1) / lengths
    return torch.where(gone, mean[:, None, None], mel)
