"""Exponential moving average of a module's parameters."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def make_ema(module: Module) -> Module:
    """Return a frozen copy to be moved by `update_ema`."""
    return copy.deepcopy(module).eval().requires_grad_(False)


@torch.no_grad()
def update_ema(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move every parameter to ``decay · average + (1 - decay) · module``; buffers are copied."""
    new = dict(module.named_parameters())
    kept = dict(average.named_parameters())
    names = list(kept)
    old = [kept[name].data for name in names]
    torch._foreach_lerp_(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        old, [new[name].data for name in names], 1.0 - decay
    )
    for buffer, fresh in zip(average.buffers(), module.buffers(), strict=True):
        buffer.copy_(fresh)


def warm_decay(decay: float, iteration: int) -> float:
    """Return a decay that starts low, so that the average forgets the initial weights.

    ``min(decay, (1 + n) / (10 + n))``, as in TensorFlow's ExponentialMovingAverage.
    """
    return min(decay, (1 + iteration) / (10 + iteration))
