"""AdamW as every stage sets it up, and one step down a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from soundleap.training.processes import add_up, shares
from soundleap.training.settings import RunSettings


@dataclass(frozen=True)
class Step:
    """What a step down a loss did; everything is on the device, to be read when it is wanted.

    Attributes:
        means: of what the losses told, over the items of the global batch.
        gradient: norm before clipping.
        applied: 1 if the weights moved, 0 if loss or gradient was not finite and all stayed as it
            was, moments of the optimiser included.
    """

    means: dict[str, Tensor]
    gradient: Tensor
    applied: Tensor

    def report(self, clips: int) -> dict[str, Tensor]:
        """Return the scalars that a story's `step` returns, for a batch of so many clips."""
        return {
            **self.means,
            "gradient": self.gradient,
            "skipped": 1 - self.applied,
            "clips": torch.tensor(clips),
        }


def adamw(
    module: nn.Module,
    settings: RunSettings,
    *,
    betas: tuple[float, float] = (0.9, 0.99),
    lr_scale: float = 1.0,
) -> torch.optim.Optimizer:
    """Return fused AdamW for all parameters; the loop multiplies its rate by `lr_scale`."""
    optimizer = torch.optim.AdamW(
        module.parameters(),
        settings.learning_rate,
        betas=betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    for group in optimizer.param_groups:
        group["lr_scale"] = lr_scale
    return optimizer


def descend_in_parts(
    accelerator: Accelerator,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Callable[[slice], Mapping[str, Tensor]],
    *,
    count: int,
    gradient_clip: float,
    accumulation: int = 1,
) -> Step:
    """Take one step down the mean loss of a global batch, whoever computes which items.

    Args:
        accelerator: of the run; gradients are summed over its processes.
        module: to be trained.
        optimizer: of `adamw`.
        losses: gives for some of the items ``loss [b]``, with the module's gradient, and whatever
            else is to be told of every item, ``[b]`` each; the same names for all parts.
        count: items in the global batch.
        gradient_clip: largest norm of the gradient.
        accumulation: micro-batches that a process makes of its share.
    """
    optimizer.zero_grad(set_to_none=True)
    means: dict[str, Tensor] = {}
    for items, counted in shares(accelerator, count, accumulation):
        values = losses(items)
        (_total(values["loss"], counted) / count).backward()
        for name, value in values.items():
            mean = _total(value.detach(), counted).float() / count
            means[name] = means[name] + mean if name in means else mean
    add_up(accelerator, (p.grad for p in module.parameters() if p.grad is not None))
    together = torch.stack(list(means.values()))
    add_up(accelerator, [together])
    means = dict(zip(means, together.unbind(), strict=True))
    return _move(module, optimizer, means, gradient_clip)


def descend(
    accelerator: Accelerator,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    gradient_clip: float,
) -> Step:
    """Take one step down a scalar loss over a whole batch, on one process."""
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    return _move(module, optimizer, {"loss": loss.detach()}, gradient_clip)


def _move(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    means: dict[str, Tensor],
    gradient_clip: float,
) -> Step:
    """Clip and step, unless loss or gradient is not finite, without asking the device."""
    norm = torch.as_tensor(nn.utils.clip_grad_norm_(module.parameters(), gradient_clip))
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    finite = (torch.isfinite(norm) & torch.isfinite(means["loss"])).float()
    optimizer.found_inf = 1 - finite  # pyright: ignore[reportAttributeAccessIssue]
    optimizer.step()
    return Step(means, norm, finite)


def _total(values: Tensor, counted: int) -> Tensor:
    return values.sum() if counted else values.sum() * 0.0
