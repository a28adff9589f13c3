"""AdamW as every stage sets it up, and one step down a loss."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from soundleap.training.settings import RunSettings


def adamw(
    module: nn.Module,
    settings: RunSettings,
    *,
    betas: tuple[float, float] = (0.9, 0.99),
    lr_scale: float = 1.0,
) -> torch.optim.Optimizer:
    """Return AdamW for all parameters; the loop multiplies its learning rate by `lr_scale`."""
    optimizer = torch.optim.AdamW(
        module.parameters(),
        settings.learning_rate,
        betas=betas,
        weight_decay=settings.weight_decay,
    )
    for group in optimizer.param_groups:
        group["lr_scale"] = lr_scale
    return optimizer


def descend(
    accelerator: Accelerator,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    gradient_clip: float,
) -> Tensor:
    """Take one step down a scalar loss; return the gradient's norm before clipping."""
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    norm = accelerator.clip_grad_norm_(module.parameters(), gradient_clip)
    optimizer.step()
    return torch.as_tensor(norm)
