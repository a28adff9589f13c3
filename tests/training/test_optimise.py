"""AdamW and one step of it, in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from soundleap.training.optimise import adamw, descend, descend_in_parts
from soundleap.training.processes import make_accelerator
from soundleap.training.settings import RunSettings

SETTINGS = RunSettings(run_dir="x", mixed_precision="no", learning_rate=0.5, weight_decay=0.2)


def linear() -> nn.Linear:
    module = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, -2.0]]))
    return module


@pytest.mark.parametrize("accumulation", [0, 1, 3])
@pytest.mark.parametrize("gradient_clip", [1.0, 100.0])
def test_the_gradient_is_that_of_the_mean_and_clipped(
    accumulation: int, gradient_clip: float
) -> None:
    accelerator, module = make_accelerator(SETTINGS), linear()
    optimizer = adamw(module, SETTINGS)
    inputs = torch.tensor([[3.0, 0.0], [0.0, 8.0], [3.0, 0.0], [0.0, 0.0]])

    def losses(items: slice) -> dict[str, Tensor]:
        return {"loss": module(inputs[items])[:, 0], "twice": 2 * module(inputs[items])[:, 0]}

    step = (
        descend_in_parts(
            accelerator, module, optimizer, losses,
            count=4, gradient_clip=gradient_clip, accumulation=accumulation,
        )
        if accumulation
        else descend(accelerator, module, optimizer, losses(slice(4))["loss"].mean(), gradient_clip)
    )  # fmt: skip
    assert float(step.gradient) == pytest.approx(2.5)  # of (1.5, 2)
    assert float(step.means["loss"]) == pytest.approx(-2.5)
    assert float(step.means.get("twice", step.means["loss"] * 2)) == pytest.approx(-5.0)
    clipped = torch.tensor([[1.5, 2.0]]) * min(1.0, gradient_clip / 2.5)
    moment = optimizer.state[module.weight]["exp_avg"]  # 1 - 0.9 of the gradient
    torch.testing.assert_close(moment, 0.1 * clipped, rtol=1e-5, atol=1e-6)


def test_weights_decay_where_there_is_no_gradient() -> None:
    accelerator, module = make_accelerator(SETTINGS), linear()
    descend(accelerator, module, adamw(module, SETTINGS), 0.0 * module.weight.sum(), 1.0)
    torch.testing.assert_close(module.weight.data, 0.9 * torch.tensor([[1.0, -2.0]]))
