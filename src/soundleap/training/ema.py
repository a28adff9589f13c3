"""Exponential moving average of a module's parameters."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

TOGETHER = 64
"""Tensors that are moved at once where that takes room for their differences."""
Module = TypeVar("Module", bound=nn.Module)


def make_ema(module: Module) -> Module:
    """Return a frozen copy to be moved by `update_ema`."""
    return copy.deepcopy(module).eval().requires_grad_(False)


@torch.no_grad()
def update_ema(
    average: nn.Module, module: nn.Module, decay: float, applied: Tensor | None = None
) -> None:
    """Move every parameter to ``decay · average + (1 - decay) · module``; buffers are copied.

    Args:
        average: of `make_ema`, sharded like the module.
        module: the network in training.
        decay: share that stays.
        applied: 1 or 0 of a `Step`: where the step was skipped all stays as it is.
    """
    if applied is not None and applied.device.type == "cpu":
        if not bool(applied):
            return
        applied = None
    new = dict(module.named_parameters())
    kept = dict(average.named_parameters())
    names = [name for name in kept if kept[name] is not new[name]]  # not what they share
    _lerp([_local(kept[n]) for n in names], [_local(new[n]) for n in names], 1.0 - decay, applied)
    for buffer, fresh in zip(average.buffers(), module.buffers(), strict=True):
        buffer.copy_(fresh)


def _lerp(old: list[Tensor], new: list[Tensor], share: float, applied: Tensor | None) -> None:
    if applied is None:
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
            old, new, share
        )
        return
    for start in range(0, len(old), TOGETHER):  # a share known to the device alone: no lerp of many
        some = old[start : start + TOGETHER]
        step = torch._foreach_sub(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
            new[start : start + TOGETHER], some
        )
        torch._foreach_mul_(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
            step, applied * share
        )
        torch._foreach_add_(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
            some, step
        )


def _local(parameter: Tensor) -> Tensor:
    data = parameter.detach()
    return data.to_local() if isinstance(data, DTensor) else data


def warm_decay(decay: float, iteration: int) -> float:
    """Return a decay that starts low, so that the average forgets the initial weights.

    ``min(decay, (1 + n) / (10 + n))``, as in TensorFlow's ExponentialMovingAverage.
    """
    return min(decay, (1 + iteration) / (10 + iteration))
